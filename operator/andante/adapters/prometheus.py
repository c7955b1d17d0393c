"""Reads engine pods from Prometheus: one query for all services, whatever their number."""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import requests
from prometheus_api_client import PrometheusApiClientException, PrometheusConnect
from urllib3.util.retry import Retry

from andante.adapters.exposition import WANTED, collect
from andante.adapters.exposition_lines import Reading
from andante.domain import metric_names
from andante.ports import PodAddress, PodSample, Unread

# The time of each series' newest sample is asked for too: Prometheus answers with what it saw up to 5 minutes ago.
_METRICS = "|".join(sorted(WANTED))
QUERY = f'sum by (__name__, namespace, pod, qoe_class, kind, cause, why, reason) ({{__name__=~"{_METRICS}"}})'
AGE_QUERY = f"min by (namespace, pod) (timestamp({metric_names.OPEN_REQUESTS}))"


class PrometheusSource:
    """MetricsSource over PromQL. Pods are told apart by the labels `namespace` and `pod` that the scrape adds."""

    def __init__(self, *, url: str, timeout_seconds: float) -> None:
        # No retries within a tick: the next tick asks again, and a slow Prometheus must not hold up every service.
        self._client = PrometheusConnect(url=url, disable_ssl=False, retry=Retry(total=0), timeout=timeout_seconds)
        self._timeout = timeout_seconds

    async def read(self, pods: Sequence[PodAddress]) -> Mapping[tuple[str, str], PodSample | Unread]:
        """One entry per pod, by (namespace, name)."""
        try:
            rows, ages = await asyncio.gather(
                asyncio.to_thread(self._query, QUERY), asyncio.to_thread(self._query, AGE_QUERY)
            )
        except (PrometheusApiClientException, requests.RequestException, ValueError, KeyError, TypeError) as error:
            why = f"Prometheus: {error}"[:300]
            return {(p.namespace, p.name): Unread(why=why) for p in pods}
        return {(p.namespace, p.name): _sample((p.namespace, p.name), rows, ages) for p in pods}

    def _query(self, query: str) -> dict[tuple[str, str], list[Reading]]:
        answer: list[dict[str, Any]] = self._client.custom_query(query, params={"timeout": f"{self._timeout:g}s"})
        found: dict[tuple[str, str], list[Reading]] = defaultdict(list)
        for row in answer:
            labels = dict(row["metric"])
            key = (labels.get("namespace", ""), labels.get("pod", ""))
            found[key].append((labels.pop("__name__", ""), labels, float(row["value"][1])))
        return found


def _sample(
    key: tuple[str, str],
    rows: Mapping[tuple[str, str], Sequence[Reading]],
    ages: Mapping[tuple[str, str], Sequence[Reading]],
) -> PodSample | Unread:
    if not rows.get(key) or not ages.get(key):
        return Unread(why="Prometheus has no series of this pod; is it scraped, with the labels namespace and pod?")
    at = ages[key][0][2]
    return collect(rows[key], at=at) if math.isfinite(at) else Unread(why="Prometheus gives no time for this pod")
