"""Lists names of other projects that our documentation uses: programs, commands, flags, variables, fields.

The checks accept these names without a look at the other project, so keep the lists short.
"""

from __future__ import annotations

# A word with one of these endings counts as the name of a file.
ENDINGS = (
    *(".py", ".md", ".yaml", ".yml", ".json", ".toml", ".lock", ".gz"),
    *(".tgz", ".sh", ".mk", ".txt", ".svg", ".html", ".csv"),
)


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


KUBECTL = _set("""
    annotate api-resources apply auth config cordon cp create debug delete describe diff drain edit events exec explain
    expose get kustomize label logs patch port-forward proxy
    replace rollout run scale set taint top uncordon version wait
""")
HELM = _set("""
    dependency get history install lint list package pull push registry repo rollback search show status template test
    uninstall upgrade version
""")

# A block without a language counts as commands if its first word is one of these.
COMMAND_STARTS = _set("""
    andante andante-engine andante-operator apt-get bash brew buildah cat cd cp crane curl docker eval export git go
    hack/setup.sh helm kind kubectl make mkdir nvidia-smi oc oras pip podman printf pytest python python3 skopeo source
    sudo uv
""")

# Programs of other projects. Of their arguments, only the names of our files are checked.
PROGRAMS = _set("""
    . amtool apt-get awk base64 bash brew buildah cat cd chmod cosign cp crane curl cut cyclonedx-py date debootstrap df
    docker done echo exit export false fi for free git go grep gunzip gzip head hey hf htpasswd jq kill kind kubectx ls
    lscpu
    mkdir mktemp mkdocs mv nproc nvidia-smi openssl oras pip pip3 pipx podman printf promtool pwd read rm sed seq set sh
    sha256sum skopeo sleep sort source tail tar tee test touch tr trap true umask uname unset until unzip uv uvx vllm wc
    wget which while xargs
""")

# Files that the reader has or creates, and files of other projects.
PATHS = _set("""
    config.json engine.yaml manifest.json my-values.yaml operator.yaml qoe.yaml report-engine.html report.html
    rules.yaml token.txt
""")

# Fields of Kubernetes and related projects, and words that look like fields.
FIELDS = _set("""
    alertmanager.config alertmanagerConfigMatcherStrategy ruleNamespaceSelector ruleSelector
    allocatable appVersion arXiv camelCase configMapKeyRef envFrom fieldRef metricRelabelings
    podMonitorNamespaceSelector podMonitorSelector podScrapeSelector resourceFieldRef resourceVersion
    selectAllByDefault spec.containers
""")

# Fields at the root of other projects' files, which a page shows as YAML.
ROOTS = _set("scrape_configs")

# Flags of kubectl, helm, docker, curl, git, pip and vLLM that pages name outside of a command.
FLAGS = _set("""
    --all-containers --all-namespaces --api-key --build-arg --comment --container --create-namespace --dport --dry-run
    --enable-auto-tool-choice --enable-expert-parallel --follow --force-conflicts --gpu-memory-utilization --help
    --kube-version --logs
    --namespace --no-hooks --output --port --previous --privileged --replicas --require-hashes --reset-then-reuse-values
    --reuse-values --selector --server-side --set --show-labels --skip-crds --speculative-config --tail --timeout --type
    --long-prefill-token-threshold --values --version --wait --watch --watermark
""")

# Variables of other programs.
VARIABLES = _set("HTTP_PROXY HTTPS_PROXY NO_PROXY REQUESTS_CA_BUNDLE SSL_CERT_FILE")
VARIABLE_PREFIXES = (
    "CUDA_",
    "DOCKER_",
    "HF_",
    "NCCL_",
    "NUMBA_",
    "NVIDIA_",
    "OTEL_",
    "PIP_",
    "PYTHON",
    "REGISTRY_",
    "VLLM_",
)

# Exceptions, kinds and reasons of other projects.
WORDS = _set("""
    convert_classic_histograms_to_nhcb
    ErrImageNeverPull ErrImagePull GatedRepoError HorizontalPodAutoscaler ImagePullBackOff RepositoryNotFoundError
""")
