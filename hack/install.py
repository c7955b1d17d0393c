"""Brings Andante onto a cluster, from nothing to an applied LLMService: what `make demo` and the e2e tests share.

    cluster up -> operator image built and loaded -> helm upgrade --install -> kubectl apply

Each step says what it does, is idempotent, and is quick the second time. `make install-local` runs all but the last.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client, config

import andante

ROOT = Path(__file__).resolve().parent.parent
SYSTEM_NAMESPACE = "andante-system"
RELEASE = "andante"
OPERATOR_CHART = "andante-operator"
TICK_SECONDS = 5
"""Shorter than the chart's 15 s, so that minutes show what takes an hour in production."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """Where the installed service answers."""

    kubeconfig: Path
    namespace: str
    service: str
    """Name of the LLMService."""
    url: str
    """Base address of its Service, reachable from this machine."""


def run(*command: str, env: dict[str, str] | None = None, stdin: str | None = None) -> str:
    """Standard output of `command`; RuntimeError with its words when it fails."""
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **(env or {})}, input=stdin, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}{done.stderr}".rstrip())
    return done.stdout


def _local(*arguments: str) -> str:
    """One sub-command of the local cluster tool; its progress goes to this terminal. RuntimeError when it fails."""
    command = [sys.executable, "-m", "hack.localcluster", *arguments]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"hack.localcluster {' '.join(arguments)}: exit status {done.returncode}; see above")
    return done.stdout


def helm_binary() -> str:
    """Path of helm, fetched or built into the cache when it is not there."""
    return _local("binaries", "helm").split()[0]


def kubectl_binary() -> str:
    """Path of kubectl, likewise."""
    return _local("binaries", "kubectl").split()[0]


def chart_values(*, cluster: str | None) -> dict[str, Any]:
    """Builds the operator's image, loads it and what engine pods need into the node; returns the chart's values.

    The engine pods of the local node take vLLM from this machine's engine environment by host mounts: the engine image
    is several gigabytes. That is why their namespace cannot have the pod security level `restricted` here.
    """
    name = ["--name", cluster] if cluster else []
    tag = f"andante-operator:{andante.__version__}"
    archive = Path(_local("build-image", *name, "--dockerfile", "operator/Dockerfile", "--tag", tag, "--load").strip())
    values: dict[str, Any] = json.loads(_local("engine-host-mounts", *name, "--key", OPERATOR_CHART, "--load"))
    repository, _, version = tag.rpartition(":")
    image = {"repository": repository, "tag": version, "pullPolicy": "Never"}
    values.setdefault(OPERATOR_CHART, {})["image"] = image
    # The tag stays while the source changes: a new archive has to restart the operator.
    values[OPERATOR_CHART]["podAnnotations"] = {"andante.dev/image-archive": archive.name}
    values[OPERATOR_CHART]["tickSeconds"] = TICK_SECONDS
    return values


def install_chart(*, kubeconfig: Path, values: dict[str, Any]) -> None:
    """`helm upgrade --install` of this repository's chart, waiting until the operator is ready."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(values, file)
        file.flush()
        run(
            *(helm_binary(), "upgrade", "--install", RELEASE, str(ROOT)),
            *("--namespace", SYSTEM_NAMESPACE, "--create-namespace", "--values", file.name, "--wait"),
            *("--timeout", "180s"),
            env={"KUBECONFIG": str(kubeconfig)},
        )


def service_url(*, kubeconfig: Path, namespace: str, service: str) -> str:
    """An address of the Service for this machine: the cluster IP, which the native node's kube-proxy serves here too.

    RuntimeError where it does not answer, with the command that helps.
    """
    api = client.CoreV1Api(config.new_client_from_config(str(kubeconfig)))
    found = api.read_namespaced_service(service, namespace)
    return f"http://{found.spec.cluster_ip}:{found.spec.ports[0].port}"


def install_operator(*, cluster: str | None, kubeconfig: Path | None, say: Callable[[str], None]) -> Path:
    """Cluster, images and chart; returns the kubeconfig. RuntimeError with the step that failed."""
    name = ["--name", cluster] if cluster else []
    named = ["--kubeconfig", str(kubeconfig)] if kubeconfig else []
    with _step(say, "cluster: up"):
        path = Path(_local("up", *name, *named).strip().splitlines()[-1])
    with _step(say, "images: build what changed and load it"):
        values = chart_values(cluster=cluster)
    with _step(say, "helm: install the chart and wait for the operator"):
        install_chart(kubeconfig=path, values=values)
    return path


def install(
    *, cluster: str | None, kubeconfig: Path | None, namespace: str, service_file: Path, say: Callable[[str], None]
) -> Installation:
    """All steps up to the applied LLMService. Returns once it is applied; RuntimeError with the step that failed."""
    path = install_operator(cluster=cluster, kubeconfig=kubeconfig, say=say)
    kubectl = [kubectl_binary(), "--kubeconfig", str(path)]
    service = yaml.safe_load(service_file.read_text(encoding="utf-8"))["metadata"]["name"]
    with _step(say, f"kubectl: apply {service_file.name} in namespace {namespace}"):
        manifest = json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        run(*kubectl, "apply", "-f", "-", stdin=manifest)
        run(*kubectl, "-n", namespace, "apply", "-f", str(service_file))
    config.load_kube_config(str(path))
    with _step(say, "operator: create the Service"):
        url = _when_there(lambda: service_url(kubeconfig=path, namespace=namespace, service=service))
    return Installation(kubeconfig=path, namespace=namespace, service=service, url=url)


def _when_there(read: Callable[[], str], *, timeout: float = 60.0) -> str:
    until = time.monotonic() + timeout
    while True:
        try:
            return read()
        except client.ApiException as error:
            if error.status != 404 or time.monotonic() > until:
                raise RuntimeError(f"the operator made no Service in {timeout:.0f} s: {error.reason}") from error
        time.sleep(0.5)


@contextlib.contextmanager
def _step(say: Callable[[str], None], what: str) -> Iterator[None]:
    say(f"==> {what}")
    started = time.monotonic()
    yield
    say(f"    done in {time.monotonic() - started:.0f} s")


def shell_lines(kubeconfig: Path, programs: Sequence[Path]) -> list[str]:
    """What a shell needs to find the cluster, and the programs that it may not have."""
    folders = dict.fromkeys(str(program.parent) for program in programs)
    path = ":".join((*folders, "$PATH"))
    return [f"export KUBECONFIG={shlex.quote(str(kubeconfig))}", f'export PATH="{path}"']


def main() -> int:
    """0 when the operator runs; then stdout has lines for the shell, and nothing else."""
    parser = argparse.ArgumentParser(description="Brings a cluster up here, if need be, and Andante onto it.")
    parser.add_argument("--cluster", default=None, help="local cluster to use (default: $ANDANTE_CLUSTER or andante)")
    cluster: str | None = parser.parse_args().cluster
    try:
        kubeconfig = install_operator(cluster=cluster, kubeconfig=None, say=lambda text: print(text, file=sys.stderr))
    except RuntimeError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    print("\n".join(shell_lines(kubeconfig, [Path(kubectl_binary()), Path(helm_binary())])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
