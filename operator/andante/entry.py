"""`andante-operator`: start-up settings, wiring, and the loops that run beside kopf's watches."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time
from pathlib import Path
from typing import Any

import kopf
import kubernetes
import prometheus_client

import andante
from andante.adapters.clock import SystemClock
from andante.adapters.kubernetes import KubernetesCluster
from andante.adapters.prometheus import PrometheusSource
from andante.adapters.scrape import DirectScrape
from andante.app.autoscale import Autoscaler
from andante.app.reconcile import Reconciler
from andante.app.settings import OPERATOR_CONFIG_FILE, OperatorSettings, SettingsError
from andante.app.world import World
from andante.handlers.queue import ReconcileQueue
from andante.handlers.watch import register
from andante.ports import MetricsSource

logger = logging.getLogger("andante")

LIVENESS_PORT = 8080
METRICS_PORT = 9090
WATCH_SERVER_TIMEOUT_SECONDS = 290
WATCH_CLIENT_TIMEOUT_SECONDS = 300

TICK_SECONDS = prometheus_client.Histogram(
    "andante_operator_tick_seconds", "Duration of one scaling tick of all services."
)
TICK_FAILURES = prometheus_client.Counter("andante_operator_tick_failures_total", "Scaling ticks that failed whole.")
SERVICES = prometheus_client.Gauge("andante_operator_services", "LLMServices that the newest tick decided on.")
API_CALLS = prometheus_client.Gauge("andante_operator_api_calls", "Calls to the Kubernetes API since the start.")


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="andante-operator",
        description="Reconciles LLMServices and scales them on measured QoE. Runs in the cluster, or outside with a"
        " kubeconfig ($KUBECONFIG).",
    )
    parser.add_argument("--config", type=Path, default=Path(OPERATOR_CONFIG_FILE), help="settings file (YAML)")
    parser.add_argument("--health-port", type=int, default=LIVENESS_PORT, help="port of /healthz")
    parser.add_argument("--metrics-port", type=int, default=METRICS_PORT, help="port of /metrics; 0: none")
    parser.add_argument("--verbose", action="store_true", help="log what each watch event does")
    parser.add_argument("--version", action="version", version=f"andante-operator {andante.__version__}")
    return parser.parse_args(argv)


def _api_client() -> kubernetes.client.ApiClient:
    try:
        kubernetes.config.load_incluster_config()
    except kubernetes.config.ConfigException:
        kubernetes.config.load_kube_config()
    return kubernetes.client.ApiClient()


def _registry() -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()

    def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        # Through the client's configuration: kopf's own way into the cluster needs a DNS name, which not each has.
        return kopf.login_via_client(**kwargs)

    kopf.on.login(registry=registry)(login)
    return registry


def _kopf_settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False  # events are the use cases' own
    settings.persistence.finalizer = "andante.dev/unused"  # nothing here needs one; never kopf's default
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix="andante.dev")
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix="andante.dev")
    # A watch that the network dropped silently must not blind the operator for good.
    settings.watching.server_timeout = WATCH_SERVER_TIMEOUT_SECONDS
    settings.watching.client_timeout = WATCH_CLIENT_TIMEOUT_SECONDS
    settings.watching.connect_timeout = 10
    settings.scanning.disabled = True  # no right to list CRDs and namespaces is needed
    return settings


async def _tick_for_ever(
    autoscaler: Autoscaler, queue: ReconcileQueue, cluster: KubernetesCluster, *, seconds: float
) -> None:
    while True:
        started = time.monotonic()
        try:
            keys = await autoscaler.tick()
        except Exception:
            # The next tick may be luckier; a loop that died in silence would never scale again.
            TICK_FAILURES.inc()
            logger.exception("the scaling tick failed")
        else:
            SERVICES.set(len(keys))
            for key in keys:
                queue.add(*key)
        took = time.monotonic() - started
        TICK_SECONDS.observe(took)
        API_CALLS.set(cluster.api_calls)
        await asyncio.sleep(max(0.1, seconds - took))


async def run(settings: OperatorSettings, *, health_port: int) -> None:
    """Run until SIGTERM or SIGINT; any loop that dies takes the process down, and the pod restarts."""
    clock, world = SystemClock(), World()
    cluster = KubernetesCluster(_api_client(), clock=clock)
    metrics: MetricsSource = (
        PrometheusSource(url=settings.prometheus_url, timeout_seconds=settings.scrape_timeout_seconds)
        if settings.prometheus_url
        else DirectScrape(clock=clock, timeout_seconds=settings.scrape_timeout_seconds)
    )
    reconciler = Reconciler(cluster=cluster, world=world, settings=settings, clock=clock)
    queue = ReconcileQueue(reconciler.reconcile)
    autoscaler = Autoscaler(
        world=world,
        cluster=cluster,
        metrics=metrics,
        reconciler=reconciler,
        clock=clock,
        tick_seconds=settings.tick_seconds,
    )
    registry = _registry()
    register(registry, world=world, queue=queue)
    namespaces = list(settings.watch_namespaces)
    watching = asyncio.create_task(
        kopf.operator(
            registry=registry,
            settings=_kopf_settings(),
            standalone=True,
            clusterwide=not namespaces,
            namespaces=namespaces,
            liveness_endpoint=f"http://0.0.0.0:{health_port}/healthz",
        )
    )
    loops = [
        watching,
        asyncio.create_task(queue.run()),
        asyncio.create_task(_tick_for_ever(autoscaler, queue, cluster, seconds=settings.tick_seconds)),
    ]
    done, rest = await asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    for task in done:
        task.result()


def main(argv: list[str] | None = None) -> None:
    """Entry point; exit status 2 when the settings cannot be used."""
    arguments = _arguments(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)  # probes, every few seconds
    logging.getLogger("kopf").setLevel(logging.DEBUG if arguments.verbose else logging.WARNING)
    try:
        settings = OperatorSettings.load(arguments.config)
    except SettingsError as error:
        print(f"andante-operator: {error}", file=sys.stderr)
        sys.exit(2)
    if arguments.metrics_port:
        prometheus_client.start_http_server(arguments.metrics_port)
    logger.info("andante-operator %s: tick every %g s", andante.__version__, settings.tick_seconds)
    asyncio.run(run(settings, health_port=arguments.health_port))


if __name__ == "__main__":
    main()
