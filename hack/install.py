"""Installs Andante on a cluster, from nothing to an applied LLMService, for `make demo` and the e2e tests.

    cluster up -> images built and brought there -> helm upgrade --install -> kubectl apply

Each step prints what it does, can be repeated, and is quick the second time. `make install-local` runs all but the
last.
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

from hack import cluster_images
from hack.localcluster import preflight, proxies, target
from hack.localcluster.backends import Backend
from hack.localcluster.errors import ClusterError
from hack.localcluster.reach import ServiceProxy
from hack.localcluster.target import Target

OPERATOR_CHART = "andante-operator"
ROOT = Path(__file__).resolve().parent.parent
SYSTEM_NAMESPACE = "andante-system"
RELEASE = "andante"
TICK_SECONDS = 5
"""Shorter than the chart's 15 s, so that a demo of minutes shows an hour of production."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """The address of the installed service, and access to its cluster."""

    kubeconfig: Path
    namespace: str
    service: str
    """Name of the LLMService."""
    url: str
    """Base address of its Service, reachable from this machine until `close`."""
    proxy: ServiceProxy | None = None
    """Forwards `url` where this machine cannot reach the cluster's addresses."""

    def close(self) -> None:
        if self.proxy:
            self.proxy.close()


def run(*command: str, env: dict[str, str] | None = None, stdin: str | None = None) -> str:
    """The standard output of `command`. Raises RuntimeError with its output when it fails."""
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **(env or {})}, input=stdin, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}{done.stderr}".rstrip())
    return done.stdout


def _local(*arguments: str) -> str:
    """Run one sub-command of the local cluster tool; its progress goes to this terminal. Raises RuntimeError."""
    command = [sys.executable, "-m", "hack.localcluster", *arguments]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"python3 -m hack.localcluster {' '.join(arguments)} failed; see above")
    return done.stdout


def helm_binary() -> str:
    """Path of helm, which is downloaded or built into the cache if it is missing."""
    return _local("binaries", "helm").split()[0]


def kubectl_binary() -> str:
    """Path of kubectl, which is downloaded or built into the cache if it is missing."""
    return _local("binaries", "kubectl").split()[0]


def install_chart(*, kubeconfig: Path, values: dict[str, Any], over: Path | None = None) -> None:
    """Run `helm upgrade --install` with this repository's chart, and wait until the operator is ready.

    `over`: a values file that overrides `values`.
    """
    more = ["--values", str(over.absolute())] if over else []
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(values, file)
        file.flush()
        run(
            *(helm_binary(), "upgrade", "--install", RELEASE, str(ROOT)),
            *("--namespace", SYSTEM_NAMESPACE, "--create-namespace", "--values", file.name, *more, "--wait"),
            *("--timeout", "300s"),
            env={"KUBECONFIG": str(kubeconfig)},
        )


def service_url(*, kubeconfig: Path, namespace: str, service: str) -> str:
    """URL with the Service's cluster IP. This machine can reach it, as the native node's kube-proxy serves it."""
    host, port = _service_address(kubeconfig=kubeconfig, namespace=namespace, service=service)
    proxies.bypass(host)
    return f"http://{host}:{port}"


def _service_address(*, kubeconfig: Path, namespace: str, service: str) -> tuple[str, int]:
    api = client.CoreV1Api(config.new_client_from_config(str(kubeconfig)))
    found = api.read_namespaced_service(service, namespace)
    return found.spec.cluster_ip, found.spec.ports[0].port


def install_operator(wanted: Target, *, say: Callable[[str], None]) -> tuple[Path, Backend]:
    """Start the cluster, bring the images and install the chart; return the kubeconfig and the backend.

    Raises RuntimeError that names the step that failed.
    """
    with _sentences():
        say(preflight.check(wanted))
        chosen = wanted.choose()
        with _step(say, "programs: fetch or build what is missing"):
            helm_binary()
            if chosen.kind == "native":
                _local("binaries", "cluster")
            cluster_images.prepare(wanted, chosen)
        with _step(say, f"cluster: up ({chosen.kind})"):
            path = Path(_local("up", *wanted.up_arguments()).strip().splitlines()[-1])
            if chosen.kind != "kubeconfig":
                proxies.bypass_server_of(path)
        with _step(say, "images: build what changed and bring it to the cluster"):
            values = cluster_images.chart_values(wanted, chosen)
            values = {OPERATOR_CHART: {**values, "tickSeconds": TICK_SECONDS}}
        with _step(say, "helm: install the chart and wait for the operator"):
            install_chart(kubeconfig=path, values=values, over=wanted.values)
    return path, chosen


def install(wanted: Target, *, namespace: str, service_file: Path, say: Callable[[str], None]) -> Installation:
    """Run all steps, and return when the LLMService is applied. Raises RuntimeError that names the step that failed."""
    path, chosen = install_operator(wanted, say=say)
    kubectl = [kubectl_binary(), "--kubeconfig", str(path)]
    service = yaml.safe_load(service_file.read_text(encoding="utf-8"))["metadata"]["name"]
    with _step(say, f"kubectl: apply {service_file.name} in namespace {namespace}"):
        manifest = json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        run(*kubectl, "apply", "-f", "-", stdin=manifest)
        run(*kubectl, "-n", namespace, "apply", "-f", str(service_file))
    config.load_kube_config(str(path))
    with _step(say, "operator: create the Service"):
        return _reached(path, namespace=namespace, service=service, directly=chosen.kind == "native")


def reach(installation: Installation, service: str) -> Installation:
    """Another LLMService in the same namespace, once the operator has made its Service. Raises RuntimeError."""
    return _reached(
        installation.kubeconfig,
        namespace=installation.namespace,
        service=service,
        directly=installation.proxy is None,
    )


def _reached(path: Path, *, namespace: str, service: str, directly: bool) -> Installation:
    """`directly`: this machine reaches the cluster's addresses."""
    host, port = _when_there(lambda: _service_address(kubeconfig=path, namespace=namespace, service=service))
    if directly:
        proxies.bypass(host)
        proxy, url = None, f"http://{host}:{port}"
    else:
        with _sentences():
            proxy = ServiceProxy(
                kubectl=Path(kubectl_binary()), kubeconfig=path, namespace=namespace, service=service, port=port
            )
        url = proxy.url
    return Installation(kubeconfig=path, namespace=namespace, service=service, url=url, proxy=proxy)


@contextlib.contextmanager
def _sentences() -> Iterator[None]:
    """Turn a ClusterError, which says what failed and what to do, into this module's RuntimeError."""
    try:
        yield
    except ClusterError as error:
        raise RuntimeError(str(error)) from error


def _when_there(read: Callable[[], tuple[str, int]], *, timeout: float = 60.0) -> tuple[str, int]:
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
    """Lines with which a shell finds the cluster, and programs that may not be on its PATH."""
    folders = dict.fromkeys(str(program.parent) for program in programs)
    path = ":".join((*folders, "$PATH"))
    return [f"export KUBECONFIG={shlex.quote(str(kubeconfig))}", f'export PATH="{path}"']


def main() -> int:
    """Return 0 when the operator runs; then stdout has only lines for the shell."""
    parser = argparse.ArgumentParser(description="Installs Andante on a cluster, and starts a local cluster if needed.")
    target.add_arguments(parser)
    options = parser.parse_args()
    try:
        wanted = target.from_options(options)
        kubeconfig, _ = install_operator(wanted, say=lambda text: print(text, file=sys.stderr))
    except (RuntimeError, ClusterError) as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    print("\n".join(shell_lines(kubeconfig, [Path(kubectl_binary()), Path(helm_binary())])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
