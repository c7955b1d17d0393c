"""Implements `andante-operator`: command line, start-up settings, logging."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import socket
import sys
import uuid
from pathlib import Path

import kubernetes

import andante
from andante.adapters.lease import LeaseLostError
from andante.adapters.own_metrics import OwnMetrics
from andante.app.settings import OPERATOR_CONFIG_FILE, OperatorSettings, SettingsError
from andante.ports import RefusedError
from andante.runtime.log import set_up
from andante.runtime.operator import KindsChangedError, Operator
from andante.runtime.queue import WORKERS
from andante.runtime.web import PortError

logger = logging.getLogger("andante")

LIVENESS_PORT = 8080
METRICS_PORT = 9090
CONNECTIONS = WORKERS + 8
"""Kept connections to the API server: one for each worker, and more for lists, the tick and the Lease."""
EXIT_SETTINGS, EXIT_REFUSED, EXIT_LEASE_LOST = 2, 3, 4


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="andante-operator",
        description="Reconciles LLMServices and scales them on measured QoE. Runs in the cluster, or outside with a"
        " kubeconfig ($KUBECONFIG).",
        epilog="Exit status: 0 after SIGTERM or SIGINT, 1 after an error of Andante itself (the log has its traceback),"
        f" {EXIT_SETTINGS} when the settings, the kubeconfig or a port cannot be used,"
        f" {EXIT_REFUSED} when the cluster refuses what the operator needs (the message says which right is missing),"
        f" {EXIT_LEASE_LOST} when another operator took over.",
    )
    parser.add_argument("--config", type=Path, default=Path(OPERATOR_CONFIG_FILE), help="settings file (YAML)")
    parser.add_argument(
        "--health-port", type=int, default=LIVENESS_PORT, help="port of /healthz and /readyz (default %(default)s)"
    )
    parser.add_argument(
        "--metrics-port", type=int, default=METRICS_PORT, help="port of /metrics (default %(default)s); 0: none"
    )
    parser.add_argument(
        "--identity",
        default=None,
        help="holder of the lease that keeps a second operator idle (default: the host's name)",
    )
    parser.add_argument("--verbose", action="store_true", help="log what each watch event does")
    parser.add_argument("--version", action="version", version=f"andante-operator {andante.__version__}")
    return parser.parse_args(argv)


def _api_client() -> kubernetes.client.ApiClient:
    configuration = kubernetes.client.Configuration()
    configuration.connection_pool_maxsize = CONNECTIONS
    try:
        kubernetes.config.load_incluster_config(client_configuration=configuration)
    except kubernetes.config.ConfigException:
        kubernetes.config.load_kube_config(client_configuration=configuration)
    return kubernetes.client.ApiClient(configuration)


def _identity() -> str:
    # In a cluster the host name is the pod's name: a restarted container is the same holder and need not wait until its
    # own Lease ends. Outside a cluster, a second process on the same machine must have another identity.
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return socket.gethostname()
    return f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}"


def main(argv: list[str] | None = None) -> None:
    """Entry point; exits as --help says."""
    arguments = _arguments(argv)
    set_up(verbose=arguments.verbose)
    try:
        settings = OperatorSettings.load(arguments.config)
        api_client = _api_client()
    except (SettingsError, kubernetes.config.ConfigException) as error:
        print(f"andante-operator: {error}", file=sys.stderr)
        sys.exit(EXIT_SETTINGS)
    set_up(settings.log.format, verbose=arguments.verbose)
    own = OwnMetrics()
    logger.info("andante-operator %s: tick every %g s", andante.__version__, settings.tick_seconds)
    operator = Operator(settings, api_client=api_client, own=own, identity=arguments.identity or _identity())
    try:
        asyncio.run(operator.run(health_port=arguments.health_port, metrics_port=arguments.metrics_port))
    except KindsChangedError as error:
        logger.info("the cluster has got, or has no longer, the kind %s: starting over", error)
        # Replace the process under the same pid: the event loop, watches and signal handlers are then new.
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  ourselves, no shell
    except PortError as error:
        logger.error("%s", error)
        sys.exit(EXIT_SETTINGS)
    except RefusedError as error:
        logger.error("the cluster refuses what the operator needs: %s", error)
        sys.exit(EXIT_REFUSED)
    except LeaseLostError as error:
        logger.error("%s", error)
        sys.exit(EXIT_LEASE_LOST)


if __name__ == "__main__":
    main()
