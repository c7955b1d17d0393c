"""Which series and labels a PromQL expression names, by a parser of PromQL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import promql_parser

_GRAFANAS = re.compile(r"\$__(rate_interval|range|interval)")
"""Durations that Grafana puts in."""


@dataclass(frozen=True, slots=True)
class Selector:
    """One selector of an expression."""

    name: str
    labels: frozenset[str]
    """That its matchers name."""


def selectors(expression: str) -> list[Selector]:
    """All selectors. Raises ValueError where the expression is no PromQL."""
    found = []
    for node in _nodes(expression):
        if isinstance(node, promql_parser.VectorSelector):
            matchers = node.matchers.matchers
            named = "".join(m.value for m in matchers if m.name == "__name__")
            labels = frozenset(m.name for m in matchers if m.name != "__name__")
            found.append(Selector(node.name or named, labels))
    return found


def grouping(expression: str) -> set[str]:
    """Labels by which the expression aggregates, and on which it matches vectors."""
    found: set[str] = set()
    for node in _nodes(expression):
        modifier = getattr(node, "modifier", None)
        matching = getattr(modifier, "matching", None)
        for holder in (modifier, matching):
            found.update(getattr(holder, "labels", None) or ())
    return found


def _nodes(expression: str) -> list[Any]:
    nodes: list[Any] = []
    promql_parser.walk(promql_parser.parse(_GRAFANAS.sub("5m", expression)), nodes.append)
    return nodes
