"""Runs the operator: takes the Lease, lists the cluster once, then runs watches, queue and ticks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import kubernetes

from andante.adapters.clock import SystemClock
from andante.adapters.kubernetes import KubernetesCluster
from andante.adapters.lease import LeaseGuard
from andante.adapters.own_metrics import OwnMetrics
from andante.adapters.prometheus import BEHIND_SECONDS, PrometheusSource
from andante.adapters.prometheus_rules import PrometheusRules
from andante.adapters.scrape import DirectScrape
from andante.app.alerts_round import FAULT as ALERTS_FAULT
from andante.app.alerts_round import ROUND_SECONDS, AlertsRound
from andante.app.children import CHILDREN
from andante.app.fleet import Fleet
from andante.app.kinds import SERVICE, ObjectKind
from andante.app.reconcile.child_sync import ChildSync
from andante.app.reconcile.reconciler import Reconciler
from andante.app.rollout.turns import RolloutTurns
from andante.app.scaling.tick import STALE_TICKS, ScalingTick, window_seconds
from andante.app.settings import OperatorSettings
from andante.app.status.figures import all_figures
from andante.app.world import World
from andante.domain.rollout_budget import RolloutBudget
from andante.ports import MetricsSource, NotFoundError, RefusedError, UnavailableError
from andante.runtime.health import Health
from andante.runtime.queue import ReconcileQueue
from andante.runtime.relist import Relister
from andante.runtime.watches import Watches
from andante.runtime.web import OwnWeb

logger = logging.getLogger(__name__)

STOP_SECONDS = 10.0
THREADS = 16
"""For calls that block, beside the queue's own: lists, the Lease."""
READ_SHARE = 0.6
"""Share of a tick in which all pods are read."""
RULES_SECONDS = 20.0
"""For Prometheus' list of all rules, which may be long."""
REFUSED_SECONDS = 10.0
"""`helm uninstall` removes the operator's rights and ends its pod. The operator may notice the lost rights first, so it
waits this long for SIGTERM."""
TICK, LEASE = "tick", "lease"
"""The parts of the operator that report to its health, beside the watches."""


class KindsChangedError(Exception):
    """An optional kind was added to the cluster or removed from it: the watches must be set up again."""


class Operator:
    """The operator of one cluster."""

    def __init__(
        self, settings: OperatorSettings, *, api_client: kubernetes.client.ApiClient, own: OwnMetrics, identity: str
    ) -> None:
        self._settings, self._own, self._identity = settings, own, identity
        self._clock, self._world, self._stop = SystemClock(), World(), asyncio.Event()
        self._cluster = KubernetesCluster(api_client, clock=self._clock, on_call=own.api_call)
        self._health = Health(self._clock)

    async def run(self, *, health_port: int, metrics_port: int) -> None:
        """Run until SIGTERM or SIGINT. If any loop dies, the process ends and the pod restarts.

        Raises RefusedError when the cluster refuses a right that the operator needs, LeaseLostError when another
        operator took over, KindsChangedError when the operator must run again in a new process, and PortError where a
        port cannot be served.
        """
        # By default there are as few as the node has CPUs, and 4: calls that hang must not keep the Lease waiting.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)
        own_web = OwnWeb(self._health, self._own.registry)
        await own_web.start(health_port=health_port, metrics_port=metrics_port)
        excusing = asyncio.create_task(self._excuse_outages())
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
            excusing.cancel()
            await own_web.stop()

    async def _is_told_to_stop(self) -> bool:
        """Whether a refusal comes from the operator's own uninstall."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), REFUSED_SECONDS)
        return self._stop.is_set()

    async def _alone(self) -> None:
        namespace = self._settings.operator_namespace
        if not namespace:
            logger.warning("operatorNamespace is not set: nothing keeps a second operator from working beside this one")
            return await self._work()
        guard = LeaseGuard(
            self._cluster,
            namespace=namespace,
            identity=self._identity,
            clock=self._clock,
            on_word=lambda: self._health.word_of(LEASE),
        )
        self._cluster.may_write_for = guard.seconds_left
        self._health.expect(LEASE, within=120.0)
        self._health.waiting_for = f"the Lease {namespace}/andante-operator"
        await guard.acquire()
        try:
            await _first_of(guard.keep(), self._work())
        finally:
            await asyncio.shield(guard.release())

    async def _work(self) -> None:
        settings = self._settings
        self._health.waiting_for = "a first look at the cluster"
        kinds = await self._kinds()
        children = ChildSync(
            cluster=self._cluster,
            world=self._world,
            settings=settings,
            clock=self._clock,
            installed_crds=[kind.crd for kind in kinds if kind.crd],
        )
        fleet = Fleet(self._world)
        reconciler = Reconciler(
            cluster=self._cluster,
            fleet=fleet,
            children=children,
            clock=self._clock,
            window=window_seconds(settings.tick_seconds),
            has_prometheus=bool(settings.prometheus_url),
        )
        queue = ReconcileQueue(self._own.timed(reconciler.reconcile), on_fault=self._own.fault)
        self._own.queue_length(lambda: len(queue))
        self._own.held((SERVICE.kind, *(kind.kind for kind in kinds)), self._world.count, lambda: len(fleet))
        # Only here, below the Lease: a stand-by knows nothing of services, and two would show each series twice.
        self._own.services(
            lambda: all_figures(
                fleet,
                now=self._clock.now(),
                stale_after=STALE_TICKS * settings.tick_seconds,
                on_fault=self._own.fault,
            )
        )
        relister = Relister(
            cluster=self._cluster,
            world=self._world,
            queue=queue,
            kinds=(SERVICE.kind, *(kind.kind for kind in kinds)),
            namespaces=settings.watch_namespaces,
            resync_seconds=settings.resync_seconds,
            on_fault=self._own.fault,
        )
        # Decide nothing before the first list is complete: a pod that is not listed yet may exist.
        await relister.first()
        self._health.waiting_for = ""
        # Each named namespace has its own watches, so that a refusal in one namespace does not stop another.
        groups = [[name] for name in settings.watch_namespaces] or [[]]
        await _first_of(
            relister.run(),
            queue.run(),
            self._tick_for_ever(fleet, queue),
            self._look_for_alerts(fleet, queue),
            self._same_kinds(kinds),
            *(self._watch(kinds, group, queue, relister) for group in groups),
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

    async def _watch(
        self, kinds: tuple[ObjectKind, ...], namespaces: list[str], queue: ReconcileQueue, relister: Relister
    ) -> None:
        watches = Watches(
            kinds=kinds,
            namespaces=namespaces,
            world=self._world,
            on_news=queue.add,
            on_list=relister.list_was_seen,
            on_fault=self._own.fault,
            health=self._health,
            identity=self._identity,
        )

        async def may_go_on() -> None:
            await self._check_kinds(kinds)
            # Where all namespaces are watched at once, a refusal stops everything, and a person must act.
            if not namespaces:
                await asyncio.to_thread(self._ask_for_rights, kinds)

        await watches.run(may_go_on=may_go_on)

    def _ask_for_rights(self, kinds: tuple[ObjectKind, ...]) -> None:
        """Raises RefusedError where the operator may not list a kind, and so not watch it either."""
        for kind in (SERVICE, *kinds):
            try:
                self._cluster.may_list(kind.kind)
            except (UnavailableError, NotFoundError):
                return

    async def _excuse_outages(self) -> None:
        """Forgive the watches while the API server does not answer: a new process could not repair that."""
        before = self._cluster.unanswered
        while True:
            await asyncio.sleep(1.0)
            if self._cluster.unanswered != before:
                before = self._cluster.unanswered
                self._health.excuse(but=(TICK,))

    async def _tick_for_ever(self, fleet: Fleet, queue: ReconcileQueue) -> None:
        settings, clock = self._settings, self._clock
        scaling = ScalingTick(
            fleet=fleet,
            metrics=self._metrics(),
            clock=clock,
            tick_seconds=settings.tick_seconds,
            behind_seconds=BEHIND_SECONDS if settings.prometheus_url else 0.0,
            on_fault=self._own.fault,
            on_gone=self._own.gone,
            on_read=self._own.read,
        )
        turns = RolloutTurns(fleet=fleet, budget=RolloutBudget.parse(settings.rollout_budget), clock=clock)
        self._health.expect(TICK, within=120 + 4 * settings.tick_seconds)
        while True:
            started = clock.monotonic()
            try:
                changed = await scaling.tick()
            except Exception:
                # The next tick may succeed. If no tick succeeds for long, health reports it.
                self._own.tick_failed()
                logger.exception("the scaling tick failed")
            else:
                self._health.word_of(TICK)
                for key in changed:
                    queue.add(*key)
                self._own.ticked(seconds=clock.monotonic() - started, services=scaling.services)
            self._hand_out_turns(turns, queue)
            await asyncio.sleep(max(0.1, settings.tick_seconds - (clock.monotonic() - started)))

    async def _look_for_alerts(self, fleet: Fleet, queue: ReconcileQueue) -> None:
        settings = self._settings
        if not settings.prometheus_url:
            await asyncio.Event().wait()
        rules = PrometheusRules(
            url=settings.prometheus_url,
            timeout_seconds=RULES_SECONDS,
            settings=settings.prometheus,
        )
        alerts = AlertsRound(fleet=fleet, rules=rules, on_fault=self._own.fault)
        while True:
            try:
                for key in await alerts.round():
                    queue.add(*key)
            except Exception:
                # Scaling goes on; the next round may succeed.
                self._own.fault(ALERTS_FAULT)
                logger.exception("whether alerts are loaded is not known")
            await asyncio.sleep(ROUND_SECONDS)

    def _hand_out_turns(self, turns: RolloutTurns, queue: ReconcileQueue) -> None:
        try:
            found = turns.round()
        except Exception:
            # Scaling goes on. A rollout can wait one more tick without harm.
            self._own.fault("rollout")
            logger.exception("no turn to replace pods was handed out")
            return
        for key in found.begin:
            queue.add(*key)
        self._own.rollouts(rolling=found.rolling, waiting=found.waiting)

    def _metrics(self) -> MetricsSource:
        settings = self._settings
        one = settings.scrape_timeout_seconds
        whole = max(one, READ_SHARE * settings.tick_seconds)
        if settings.prometheus_url:
            return PrometheusSource(
                url=settings.prometheus_url,
                timeout_seconds=one,
                round_seconds=whole,
                settings=settings.prometheus,
            )
        return DirectScrape(clock=self._clock, timeout_seconds=one, round_seconds=whole)


async def _until(stop: asyncio.Event, work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` until it ends or `stop` is set; then give `work` a moment to finish its current step."""
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
    """Run all until the first ends. Then end the others and raise the error of the first."""
    tasks = [asyncio.ensure_future(w) for w in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
