"""Chooses what a status that changed tells as Events: decisions, and conditions that turned. Pure.

`andante.app.status.problems` has what is good of a condition. An Event tells that it turned bad, that the reason of
what is bad is another one, and that it is good again; not that the operator could not see for a while.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from andante.app.status.problems import ORDER, WISHED


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One Event. Later ones of the same reason and series are counted in the first one."""

    kind: Literal["Normal", "Warning"]
    reason: str
    message: str
    series: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """How a condition is told."""

    news_from_unknown: bool = False
    """Whether bad is told where it was not known before; else a start would be told as a fault."""
    reasons: bool = False
    """Whether another reason of what is bad is told, too."""


_RULES: Final[Mapping[str, _Rule]] = {
    "Ready": _Rule(),
    "RolledOut": _Rule(),
    "Degraded": _Rule(news_from_unknown=True, reasons=True),
    "SpecValid": _Rule(news_from_unknown=True, reasons=True),
    "EngineCompatible": _Rule(news_from_unknown=True),
    "MetricsAvailable": _Rule(),
    "AbleToScale": _Rule(news_from_unknown=True, reasons=True),
    "SLOMet": _Rule(news_from_unknown=True),
    "AlertsLoaded": _Rule(),
    "ObjectiveUnreachable": _Rule(news_from_unknown=True),
}
_GOOD: Final[Mapping[str, str | None]] = {aspect.type: aspect.good for aspect in ORDER}
MODE: Final = "mode"
"""The step of a decision by which it is advice, and changes nothing."""
WITHOUT_EFFECT: Final = "FieldsWithoutEffect"
"""A reason that is good by its status, and told all the same: a person asked for something, and gets it not. So
`kubectl scale` of a service in mode Auto has an answer."""
_TOLD_AS: Final = {"Serving": "Ready"}
"""Reasons whose Event has another name."""


def of_decisions(live: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Event]:
    """The Events of decisions that `live` did not tell of (both statuses in the API's form), oldest first."""
    told = {_key(decision) for decision in (live.get("scaling") or {}).get("decisions") or ()}
    for decision in reversed((wanted.get("scaling") or {}).get("decisions") or ()):
        if _key(decision) not in told:
            step = f"{decision['from']} -> {decision['to']} replicas"
            mode = next((s["reason"] for s in decision.get("steps") or () if s["name"] == MODE), None)
            if mode is not None:
                step = f"advice only, as scaling.mode is {mode}: {step}"
            yield Event(kind="Normal", reason=decision["reason"], message=f"{step}: {decision['message']}", series=step)


def of_conditions(live: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Event]:
    """The Events of conditions that turned between the two statuses."""
    before = {c["type"]: c for c in live.get("conditions") or ()}
    for condition in wanted.get("conditions") or ():
        rule = _RULES.get(condition["type"])
        if rule is not None and _turned(before.get(condition["type"]), condition, rule):
            yield _event(condition)


def _turned(old: Mapping[str, Any] | None, new: Mapping[str, Any], rule: _Rule) -> bool:
    if new["reason"] == WITHOUT_EFFECT:
        return old is None or (old["reason"], old["message"]) != (new["reason"], new["message"])
    was, good = old["status"] if old else "Unknown", _GOOD[new["type"]]
    if new["status"] == "Unknown" or (was == new["status"] and new["status"] == good):
        return False
    if new["status"] == good:
        # A first replica that serves is news; that nothing else is wrong is none.
        return was != "Unknown" or new["type"] == "Ready"
    if was == new["status"]:
        return rule.reasons and old is not None and old["reason"] != new["reason"]
    return was == good or rule.news_from_unknown


def _event(condition: Mapping[str, Any]) -> Event:
    reason = condition["reason"]
    bad = condition["status"] != _GOOD[condition["type"]] and reason not in WISHED
    bad = bad or reason == WITHOUT_EFFECT
    return Event(
        kind="Warning" if bad else "Normal",
        reason=_TOLD_AS.get(reason, reason),
        message=condition["message"],
        series=condition["type"],
    )


def _key(decision: Mapping[str, Any]) -> tuple[object, ...]:
    """What tells a decision of a status from the others."""
    return decision.get("at"), decision.get("from"), decision.get("to")
