"""The running operator: the guard against a second one, a first look at the cluster, then watches, queue and ticks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import kopf
import kubernetes

from andante.adapters.clock import SystemClock
from andante.adapters.kubernetes import KubernetesCluster
from andante.adapters.lease import LeaseGuard
from andante.adapters.own_metrics import Health, OwnMetrics, serve_health
from andante.adapters.prometheus import PrometheusSource
from andante.adapters.scrape import DirectScrape
from andante.api.v1alpha1 import KIND
from andante.app.fleet import Fleet
from andante.app.kinds import CHILDREN, ObjectKind
from andante.app.reconcile.child_sync import ChildSync
from andante.app.reconcile.reconciler import Reconciler
from andante.app.scaling.tick import ScalingTick, window_seconds
from andante.app.settings import OperatorSettings
from andante.app.world import World
from andante.ports import MetricsSource, RefusedError, UnavailableError
from andante.runtime.kopf_storage import NoDiffBase, NoProgress
from andante.runtime.queue import ReconcileQueue
from andante.runtime.relist import Relister
from andante.runtime.watch import register

logger = logging.getLogger(__name__)

WATCH_SERVER_TIMEOUT_SECONDS = 120
WATCH_CLIENT_TIMEOUT_SECONDS = 150
WATCH_CONNECT_TIMEOUT_SECONDS = 10
STOP_SECONDS = 10.0
SCRAPE_SHARE = 0.6
"""Of a tick, for reading all pods."""
REFUSED_SECONDS = 10.0
"""`helm uninstall` takes the operator's rights away and ends its pod; the operator may notice the first earlier."""


class KindsChangedError(Exception):
    """An optional kind came to the cluster or left it: the watches have to be set up anew."""


class Operator:
    """One operator of one cluster."""

    def __init__(
        self, settings: OperatorSettings, *, api_client: kubernetes.client.ApiClient, own: OwnMetrics, identity: str
    ) -> None:
        self._settings, self._own, self._identity = settings, own, identity
        self._clock, self._world, self._stop = SystemClock(), World(), asyncio.Event()
        self._cluster = KubernetesCluster(api_client, clock=self._clock, on_call=own.api_call)
        self._health = Health(clock=self._clock, longest_silence=120 + 4 * settings.tick_seconds)

    async def run(self, *, health_port: int) -> None:
        """Run until SIGTERM or SIGINT; any loop that dies takes the process down, and the pod restarts.

        Raises RefusedError when the cluster refuses what the operator needs, LeaseLostError when another one took over,
        KindsChangedError when it has to be run again, in a new process.
        """
        self._stop_on_signals()
        runner = await serve_health(self._health, port=health_port)
        try:
            await _until(self._stop, self._alone)
        except KindsChangedError:
            if not self._stop.is_set():
                raise
        except RefusedError as error:
            logger.warning("refused: %s; waiting %g s for SIGTERM, as in an uninstall", error, REFUSED_SECONDS)
            if not await self._is_told_to_stop():
                raise
        finally:
            await runner.cleanup()

    async def _is_told_to_stop(self) -> bool:
        """Whether a refusal belongs to the operator's own end."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), REFUSED_SECONDS)
        return self._stop.is_set()

    def _stop_on_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)

    async def _alone(self) -> None:
        namespace = self._settings.operator_namespace
        if not namespace:
            logger.warning("operatorNamespace is not set: nothing keeps a second operator from working beside this one")
            return await self._work()
        guard = LeaseGuard(self._cluster, namespace=namespace, identity=self._identity, clock=self._clock)
        self._cluster.may_write_for = guard.seconds_left
        waiting = asyncio.create_task(self._breathe())
        try:
            await guard.acquire()
        finally:
            waiting.cancel()
        try:
            await _first_of(guard.keep(), self._work())
        finally:
            await asyncio.shield(guard.release())

    async def _work(self) -> None:
        kinds = await self._kinds()
        children = ChildSync(
            cluster=self._cluster,
            world=self._world,
            settings=self._settings,
            clock=self._clock,
            installed_crds=[kind.crd for kind in kinds if kind.crd],
        )
        fleet = Fleet(self._world)
        reconciler = Reconciler(
            cluster=self._cluster,
            fleet=fleet,
            children=children,
            clock=self._clock,
            window=window_seconds(self._settings.tick_seconds),
        )
        queue = ReconcileQueue(self._own.timed(reconciler.reconcile), on_fault=self._own.fault)
        self._own.queue_length(lambda: len(queue))
        relister = Relister(
            cluster=self._cluster,
            world=self._world,
            queue=queue,
            kinds=(KIND, *(kind.kind for kind in kinds)),
            namespaces=self._settings.watch_namespaces,
            resync_seconds=self._settings.resync_seconds,
        )
        # Nothing is decided on half a view: a pod that is not known yet is not a pod that is not there.
        await relister.first()
        # kopf comes last: when it ends, it ends every task that began after it.
        await _first_of(
            relister.run(),
            queue.run(),
            self._tick_for_ever(fleet, queue),
            self._same_kinds(kinds),
            self._watch(kinds, queue, relister),
        )

    async def _kinds(self) -> tuple[ObjectKind, ...]:
        while True:
            try:
                missing = [k for k in CHILDREN if k.crd and not await asyncio.to_thread(self._cluster.serves, k.kind)]
            except UnavailableError as error:
                logger.warning("waiting for the API server: %s", error)
                await asyncio.sleep(1.0)
            else:
                return tuple(kind for kind in CHILDREN if kind not in missing)

    async def _same_kinds(self, kinds: tuple[ObjectKind, ...]) -> None:
        while True:
            await asyncio.sleep(self._settings.resync_seconds)
            await self._check_kinds(kinds)

    async def _check_kinds(self, kinds: tuple[ObjectKind, ...]) -> None:
        now = await self._kinds()
        if now != kinds:
            raise KindsChangedError(", ".join(sorted(kind.kind for kind in set(now) ^ set(kinds))))

    async def _watch(self, kinds: tuple[ObjectKind, ...], queue: ReconcileQueue, relister: Relister) -> None:
        registry = kopf.OperatorRegistry()
        settings = _kopf_settings()

        def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
            # By way of the client's configuration: kopf's own way in needs kubernetes.default.svc to resolve, and not
            # each cluster has a DNS for its pods.
            return kopf.login_via_client(**kwargs)

        kopf.on.login(registry=registry)(login)
        register(registry, settings, kinds=kinds, world=self._world, queue=queue, on_list=relister.list_was_seen)
        namespaces = list(self._settings.watch_namespaces)
        others = asyncio.all_tasks()
        tasks = await kopf.spawn_tasks(
            registry=registry,
            settings=settings,
            standalone=True,  # the Lease is the guard; kopf's peering needs a CRD of its own
            identity=self._identity,  # type: ignore[arg-type]  # a NewType of str that kopf does not export
            clusterwide=not namespaces,
            namespaces=namespaces,
        )
        # kopf has just put signal handlers of its own in place; they would end kopf, and not us.
        self._stop_on_signals()
        try:
            await kopf.run_tasks(tasks, ignored=others)
        except Exception as error:
            # What kopf does not try again: the kind is gone, or the right to watch it.
            await self._check_kinds(kinds)
            raise RefusedError(f"a watch ended: {error}") from error

    async def _tick_for_ever(self, fleet: Fleet, queue: ReconcileQueue) -> None:
        settings, clock = self._settings, self._clock
        metrics: MetricsSource = (
            PrometheusSource(url=settings.prometheus_url, timeout_seconds=settings.scrape_timeout_seconds)
            if settings.prometheus_url
            else DirectScrape(
                clock=clock,
                timeout_seconds=settings.scrape_timeout_seconds,
                round_seconds=max(settings.scrape_timeout_seconds, SCRAPE_SHARE * settings.tick_seconds),
            )
        )
        scaling = ScalingTick(
            fleet=fleet,
            cluster=self._cluster,
            metrics=metrics,
            clock=clock,
            tick_seconds=settings.tick_seconds,
            on_fault=self._own.fault,
        )
        while True:
            started = clock.monotonic()
            self._health.sign_of_life()
            try:
                changed = await scaling.tick()
            except Exception:
                # The next tick may be luckier; a loop that died in silence would never scale again.
                self._own.tick_failed()
                logger.exception("the scaling tick failed")
            else:
                for key in changed:
                    queue.add(*key)
                self._own.ticked(seconds=clock.monotonic() - started, services=scaling.services)
            await asyncio.sleep(max(0.1, settings.tick_seconds - (clock.monotonic() - started)))

    async def _breathe(self) -> None:
        """A stand-by is alive."""
        while True:
            self._health.sign_of_life()
            await asyncio.sleep(5.0)


def _kopf_settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False  # events are the use cases' own
    # Only events are handled, so that no finalizer is ever written; should that change, it is at least ours.
    settings.persistence.finalizer = "andante.dev/operator"
    settings.persistence.progress_storage = NoProgress()
    settings.persistence.diffbase_storage = NoDiffBase()
    # A watch that the network dropped silently must not blind the operator for good.
    settings.watching.server_timeout = WATCH_SERVER_TIMEOUT_SECONDS
    settings.watching.client_timeout = WATCH_CLIENT_TIMEOUT_SECONDS
    settings.watching.connect_timeout = WATCH_CONNECT_TIMEOUT_SECONDS
    settings.watching.reconnect_backoff = 1.0
    settings.scanning.disabled = True  # no right to list CRDs and namespaces is needed
    return settings


async def _until(stop: asyncio.Event, work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` until it ends or `stop` is set; then give it a moment to finish what is in hand."""
    working, stopping = asyncio.ensure_future(work()), asyncio.ensure_future(stop.wait())
    await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not working.done():
        logger.info("stopping")
        working.cancel()
        await asyncio.wait([working], timeout=STOP_SECONDS)
    if working.done() and not working.cancelled():
        working.result()


async def _first_of(*work: Awaitable[None]) -> None:
    """Run all until the first ends; end the others, and raise what it raised."""
    tasks = [asyncio.ensure_future(w) for w in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
