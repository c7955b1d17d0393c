"""Reads engine pods' metrics from Prometheus: a few queries, each for some of the pods.

A query that fails or is late affects only the pods of that query.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from andante.adapters.exposition import WANTED
from andante.adapters.prometheus_access import PrometheusAccess, QueryError
from andante.adapters.prometheus_rows import TIME_KIND, PodKey, PodSeries
from andante.adapters.prometheus_shards import Shard, shards
from andante.app.settings import PrometheusSettings
from andante.app.text import clip
from andante.domain import metric_names
from andante.ports import PodAddress, PodSample, Unread

logger = logging.getLogger(__name__)

AT_ONCE = 4
"""Queries that run at the same time."""

_METRICS = "|".join(sorted(WANTED))
# Raw series: a sum over pods or targets would hide that one of them restarted or stopped. And the time of each target's
# newest sample, as Prometheus may answer with samples that are up to 5 minutes old. Both in one query: of two queries
# each may be answered by another server behind one address. The label keeps `or` from taking the times for duplicates.
_QUERY = (
    '{{__name__=~"{metrics}", kind=~"|visible|hidden", {pods}}}'
    ' or label_replace(timestamp({timed}{{{pods}}}), "kind", "{time}", "", "")'
)
_LATENCY_OFFSET = "5s"
"""VictoriaMetrics leaves out the newest 30 s, where the samples of a scrape may be incomplete; 5 s are enough for one
scrape. Other servers ignore this parameter."""
BEHIND_SECONDS = 30.0
"""How far the newest samples of a store may be behind the scrapes: Thanos, Mimir and VictoriaMetrics are."""


class PrometheusSource:
    """MetricsSource over PromQL. The labels `namespace` and `pod`, which the scrape adds, identify a pod."""

    def __init__(
        self,
        *,
        url: str,
        timeout_seconds: float,
        round_seconds: float,
        settings: PrometheusSettings | None = None,
    ) -> None:
        """`timeout_seconds`: for one query. `round_seconds`: for all queries of a tick. `settings`: the access."""
        self._access = PrometheusAccess(
            url=url, timeout_seconds=timeout_seconds, settings=settings or PrometheusSettings()
        )
        self._timeout, self._round_seconds = timeout_seconds, round_seconds
        self._before: dict[PodKey, PodSample] = {}
        """The last sample of each pod."""
        self._causes: frozenset[str] = frozenset()
        """Why the newest round's queries failed."""
        # An own pool: queries that hang must not take the threads of the reconciles.
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="prometheus")

    async def read(self, pods: Sequence[PodAddress]) -> Mapping[tuple[str, str], PodSample | Unread]:
        """Read all `pods`; one entry per pod, by (namespace, name)."""
        asked_for = {(pod.namespace, pod.name) for pod in pods}
        self._before = {key: sample for key, sample in self._before.items() if key in asked_for}
        found: dict[PodKey, PodSample | Unread] = {}
        asked: dict[asyncio.Future[Mapping[PodKey, PodSample | Unread]], Shard] = {}
        for shard in shards(pods):
            found |= shard.all(_failed(f"Prometheus: no answer within the {self._round_seconds:g} s of a round"))
            asked[asyncio.wrap_future(self._threads.submit(self._read, shard))] = shard
        if not asked:
            return found
        try:
            answered, _ = await asyncio.wait(asked, timeout=self._round_seconds)
        finally:
            for late in asked:
                late.cancel()  # a query that already runs ends by its own timeout
        for future in answered:
            error = future.exception()
            if error is None:
                found |= future.result()
            else:
                found |= asked[future].all(_failed(clip(f"Prometheus: {error}", 300)))
        self._tell(found.values())
        self._before |= {key: answer for key, answer in found.items() if isinstance(answer, PodSample)}
        return found

    def _tell(self, answers: Collection[PodSample | Unread]) -> None:
        """Log what Prometheus answers in place of series, once for each cause; a log is read when nothing scales."""
        causes = frozenset(answer.why for answer in answers if isinstance(answer, Unread) and answer.of_source)
        for cause in sorted(causes - self._causes):
            logger.warning("%s", cause)
        if self._causes and not causes:
            logger.info("Prometheus answers again")
        self._causes = causes

    def _read(self, shard: Shard) -> Mapping[PodKey, PodSample | Unread]:
        """The samples of a shard's pods from Prometheus, or the reason why Prometheus has none."""
        try:
            rows = self._access.query(
                _QUERY.format(metrics=_METRICS, pods=shard.selector, timed=metric_names.OPEN_REQUESTS, time=TIME_KIND),
                timeout=f"{self._timeout:g}s",
                latency_offset=_LATENCY_OFFSET,
            )
            series = PodSeries(rows)
            return {key: series.sample(key, before=self._before.get(key)) for key in shard.pods}
        except QueryError as error:
            return shard.all(_failed(str(error)))
        except (ValueError, KeyError, IndexError, TypeError):
            return shard.all(_failed("Prometheus: its answer is not a vector of series"))


def _failed(why: str) -> Unread:
    return Unread(why=why, of_source=True)
