"""Reads engine pods' metrics from Prometheus: a few queries, each for the pods of some namespaces.

A query that fails or is late affects only the namespaces of that query.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import requests
from prometheus_api_client import PrometheusApiClientException, PrometheusConnect
from urllib3.util.retry import Retry

from andante.adapters.exposition import WANTED, collect
from andante.adapters.exposition_lines import Reading
from andante.app.text import clip
from andante.domain import metric_names
from andante.ports import PodAddress, PodSample, Unread

AT_ONCE = 4
"""Queries that run at the same time."""
SHARD_PODS = 500
"""Pods of one query, unless one namespace has more: 13,000 series, 3 MB of JSON."""
SHARD_NAMESPACES = 30
"""Namespaces of one query. The URL contains their names, and proxies limit a URL to 8 KiB."""

_METRICS = "|".join(sorted(WANTED))
# Ask for the time of each series' newest sample too: Prometheus may answer with samples that are up to 5 minutes old.
_QUERY = (
    "sum by (__name__, namespace, pod, qoe_class, kind, cause, why, reason)"
    ' ({{__name__=~"{metrics}", kind=~"|visible", namespace=~"{namespaces}"}})'
)
_AGE_QUERY = "min by (namespace, pod) (timestamp(" + metric_names.OPEN_REQUESTS + '{{namespace=~"{namespaces}"}}))'

_Key = tuple[str, str]
"""Namespace and name of a pod."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shard:
    """The pods of one pair of queries."""

    namespaces: Sequence[str]
    pods: Sequence[_Key]

    def all(self, unread: Unread) -> dict[_Key, PodSample | Unread]:
        """The same answer for each pod of the shard."""
        return dict.fromkeys(self.pods, unread)


class PrometheusSource:
    """MetricsSource over PromQL. The labels `namespace` and `pod`, which the scrape adds, identify a pod."""

    def __init__(self, *, url: str, timeout_seconds: float, round_seconds: float) -> None:
        """`timeout_seconds`: for one query. `round_seconds`: for all queries of a tick."""
        # No retries within a tick: the next tick asks again, and a slow Prometheus must not delay every service.
        self._client = PrometheusConnect(url=url, disable_ssl=False, retry=Retry(total=0), timeout=timeout_seconds)
        self._timeout, self._round_seconds = timeout_seconds, round_seconds
        # An own pool: queries that hang must not take the threads of the reconciles.
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="prometheus")

    async def read(self, pods: Sequence[PodAddress]) -> Mapping[tuple[str, str], PodSample | Unread]:
        """Read all `pods`; one entry per pod, by (namespace, name)."""
        found: dict[_Key, PodSample | Unread] = {}
        asked: dict[asyncio.Future[Mapping[_Key, PodSample | Unread]], _Shard] = {}
        for shard in _shards(pods):
            found |= shard.all(Unread(why=f"Prometheus: no answer within the {self._round_seconds:g} s of a round"))
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
                found |= asked[future].all(Unread(why=clip(f"Prometheus: {error}", 300)))
        return found

    def _read(self, shard: _Shard) -> Mapping[_Key, PodSample | Unread]:
        """The samples of a shard's pods from Prometheus, or the reason why Prometheus has none."""
        namespaces = "|".join(shard.namespaces)
        try:
            ages = {key: rows[0][2] for key, rows in self._rows(_AGE_QUERY.format(namespaces=namespaces))}
            rows = dict(self._rows(_QUERY.format(metrics=_METRICS, namespaces=namespaces)))
            return {key: _sample(rows.get(key), ages.get(key)) for key in shard.pods}
        except (PrometheusApiClientException, requests.RequestException, ValueError, KeyError, TypeError) as error:
            return shard.all(Unread(why=clip(f"Prometheus: {error}", 300)))

    def _rows(self, query: str) -> Iterable[tuple[_Key, list[Reading]]]:
        answer: list[dict[str, Any]] = self._client.custom_query(query, params={"timeout": f"{self._timeout:g}s"})
        found: dict[_Key, list[Reading]] = defaultdict(list)
        for row in answer:
            labels = row["metric"]
            key = (labels.get("namespace", ""), labels.get("pod", ""))
            found[key].append((labels.get("__name__", ""), labels, float(row["value"][1])))
        return found.items()


def _shards(pods: Sequence[PodAddress]) -> Iterator[_Shard]:
    """Split the pods into shards of whole namespaces."""
    by_namespace: dict[str, list[_Key]] = defaultdict(list)
    for pod in pods:
        by_namespace[pod.namespace].append((pod.namespace, pod.name))
    namespaces: list[str] = []
    keys: list[_Key] = []
    for namespace, its in sorted(by_namespace.items()):
        if keys and (len(keys) + len(its) > SHARD_PODS or len(namespaces) == SHARD_NAMESPACES):
            yield _Shard(namespaces=namespaces, pods=keys)
            namespaces, keys = [], []
        namespaces.append(namespace)
        keys += its
    if keys:
        yield _Shard(namespaces=namespaces, pods=keys)


def _sample(rows: Sequence[Reading] | None, at: float | None) -> PodSample | Unread:
    if not rows or at is None:
        return Unread(why="Prometheus has no series of this pod; is it scraped, with the labels namespace and pod?")
    return collect(rows, at=at) if math.isfinite(at) else Unread(why="Prometheus gives no time for this pod")
