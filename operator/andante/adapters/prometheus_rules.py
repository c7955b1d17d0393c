"""Asks Prometheus which rules it evaluates."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from andante.adapters.prometheus_access import PrometheusAccess, QueryError, Row
from andante.app.settings import PrometheusSettings
from andante.app.text import clip
from andante.ports import LoadedRule, Unread

MAX_ERROR = 300
"""Characters of the cause why a rule's evaluation failed."""


class PrometheusRules:
    """RulesSource over `/api/v1/rules`."""

    def __init__(self, *, url: str, timeout_seconds: float, settings: PrometheusSettings | None = None) -> None:
        self._access = PrometheusAccess(
            url=url, timeout_seconds=timeout_seconds, settings=settings or PrometheusSettings()
        )
        # A thread of its own: a server that hangs must not take one from the reconciles.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rules")

    async def read(self) -> Sequence[LoadedRule] | Unread:
        return await asyncio.wrap_future(self._thread.submit(self._read))

    def _read(self) -> Sequence[LoadedRule] | Unread:
        try:
            return [_rule(group, rule) for group in self._access.rules() for rule in group["rules"]]
        except QueryError as error:
            return Unread(why=str(error), of_source=True)
        except (KeyError, TypeError, AttributeError):
            return Unread(why="Prometheus: its answer is not a list of rules", of_source=True)


def _rule(group: Row, rule: Row) -> LoadedRule:
    failed = rule.get("health") == "err"
    error = clip(str(rule.get("lastError") or "no cause is given"), MAX_ERROR) if failed else ""
    return LoadedRule(group=str(group["name"]), name=str(rule["name"]), error=error)
