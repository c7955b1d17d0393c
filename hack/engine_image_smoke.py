"""Runs a real vLLM image as a pod of a real node: `make engine-image-smoke`.

The image is vLLM for CPUs without Andante, which is copied from the operator's image as in production. With
`--package-from Image` it is the prebuilt image of engine_image/Dockerfile, which contains Andante.

    cluster up -> images built and loaded -> helm install, helm test -> an LLMService in a namespace under the Pod
    Security level `restricted` -> an answer by HTTP -> helm uninstall, which removes the service -> cluster down

It is not in the test suites, as the image alone takes minutes to load. The suites run the same pods with host mounts.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import andante
from hack.install import (
    OPERATOR_CHART,
    RELEASE,
    ROOT,
    SYSTEM_NAMESPACE,
    helm_binary,
    install_chart,
    kubectl_binary,
    run,
    service_url,
)

CLUSTER = "engine-image"
NAMESPACE = "smoke"
SERVICE_FILE = ROOT / "examples" / "llmservice.yaml"
SERVICE = "chat"
READY_SECONDS = 600.0


def _local(*arguments: str) -> str:
    return run(sys.executable, "-m", "hack.localcluster", *arguments)


def _load(archive: Path) -> str:
    """Load an archive; the image's name on the node."""
    return _local("load-image", "--name", CLUSTER, str(archive)).strip().splitlines()[-1]


def _answer(url: str) -> dict[str, Any]:
    body = {"model": SERVICE, "prompt": "Hello", "max_tokens": 16, "ignore_eos": True}
    request = urllib.request.Request(  # noqa: S310
        f"{url}/v1/completions", data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=60) as reply:
        answer: dict[str, Any] = json.loads(reply.read())
    return answer


def _check_package(kubectl: list[str], package_from: str) -> None:
    """Raise RuntimeError where Andante did not get into the pod as `package_from` says."""
    code = "import importlib.util as u; print(u.find_spec('andante_vllm') is not None)"
    command = ("exec", f"deploy/{SERVICE}", "-c", "engine", "--", "python3", "-c", code)
    inside = run(*kubectl, "-n", NAMESPACE, *command).strip() == "True"
    if inside != (package_from == "Image"):
        raise RuntimeError(f"packageFrom is {package_from}, but andante_vllm is {'' if inside else 'not '}in the image")
    _say(f"andante_vllm is {'a part of the image' if inside else 'not in the image: it came from the operator'}")


def smoke(*, engine_archive: Path, package_from: str) -> None:
    """Raises RuntimeError with the step that failed."""
    kubeconfig = Path(_local("up", "--name", CLUSTER, "--backend", "native").strip().splitlines()[-1])
    environment = {"KUBECONFIG": str(kubeconfig)}
    kubectl = [kubectl_binary(), "--kubeconfig", str(kubeconfig)]
    _say("images: load the operator's and the engine's")
    tag = f"andante-operator:{andante.__version__}"
    build = ("build-image", "--dockerfile", "operator/Dockerfile", "--tag", tag)
    operator, engine = _load(Path(_local(*build).strip())), _load(engine_archive)
    repository, _, version = operator.rpartition(":")
    values = {
        OPERATOR_CHART: {
            "image": {"repository": repository, "tag": version, "pullPolicy": "Never"},
            "engineImage": engine,
            "engineImagePullPolicy": "Never",
            "enginePackageFrom": package_from,
            "tickSeconds": 5,
            "uninstall": {"services": "Remove"},
        }
    }
    _say("helm: install, then test")
    install_chart(kubeconfig=kubeconfig, values=values)
    print(run(helm_binary(), "test", RELEASE, "--namespace", SYSTEM_NAMESPACE, "--timeout", "180s", env=environment))
    _say("kubectl: a service in a restricted namespace")
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}
    run(*kubectl, "apply", "-f", "-", stdin=json.dumps(namespace))
    run(*kubectl, "-n", NAMESPACE, "apply", "-f", str(SERVICE_FILE))
    _say(f"waiting up to {READY_SECONDS:.0f} s for it to be Ready")
    started = time.monotonic()
    timeout = f"--timeout={READY_SECONDS:.0f}s"
    run(*kubectl, "-n", NAMESPACE, "wait", f"llmservice/{SERVICE}", "--for=condition=Ready", timeout)
    _say(f"Ready after {time.monotonic() - started:.0f} s")
    answer = _answer(service_url(kubeconfig=kubeconfig, namespace=NAMESPACE, service=SERVICE))
    tokens = answer["usage"]["completion_tokens"]
    if tokens != 16:
        raise RuntimeError(f"16 tokens were asked for, {tokens} came: {answer}")
    _say(f"an answer of {tokens} tokens")
    _check_package(kubectl, package_from)
    run(helm_binary(), "uninstall", RELEASE, "--namespace", SYSTEM_NAMESPACE, "--timeout", "180s", env=environment)
    run(*kubectl, "-n", NAMESPACE, "wait", "pod", "--all", "--for=delete", "--timeout=180s")
    left = run(*kubectl, "get", "llmservices", "-A", "-o", "name")
    if left:
        raise RuntimeError(f"helm uninstall was to remove every service; left: {left}")
    _say("uninstalled; no service and no pod is left")


def _say(what: str) -> None:
    print(f"==> {what}", flush=True)


def main() -> int:
    """0 when all of it worked; the cluster is taken down in any case."""
    parser = argparse.ArgumentParser(description="Runs a vLLM image as a pod of a native node of its own.")
    parser.add_argument(
        "archive", type=Path, help="of a vLLM image without a GPU, as `make engine-image-smoke` makes it"
    )
    parser.add_argument(
        "--package-from",
        choices=("Operator", "Image"),
        default="Operator",
        help="Operator: a plain vLLM image; Image: one that `make engine-image-cpu` made, with Andante in it",
    )
    options = parser.parse_args()
    archive: Path = options.archive
    if not archive.is_file():
        parser.error(f"{archive}: no such file")
    try:
        smoke(engine_archive=archive, package_from=options.package_from)
    except RuntimeError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    finally:
        _say("cluster: down")
        _local("down", "--name", CLUSTER)
    return 0


if __name__ == "__main__":
    sys.exit(main())
