"""The alerts of one service's promise, with its numbers written into them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from andante.domain import metric_names
from andante.domain.pace import QoEClass
from andante.domain.slo import recording
from andante.domain.slo.alerts import BUDGET_SPENT, BURN_FAST, Rule, alert
from andante.domain.slo.burn import LEAST_WINDOW, WHOLE_WEEK, BurnTier, burn_tiers, duration
from andante.domain.slo.promise import DAY, Promise
from andante.domain.slo.promql import BY_SERVICE, number, once, selector
from andante.domain.slo.recording import Group, newest, ratio_with_open

_SERVICE = "{{ $labels.namespace }}/{{ $labels.llmservice }}"
_CLASS = "{{ with $labels.qoe_class }} for class {{ . }}{{ end }}"
_SUMMARY = {
    "fast": f"{_SERVICE}: many answers are bad right now",
    "slow": f"{_SERVICE}: answers have been bad for hours",
    "trend": f"{_SERVICE}: at this pace the promise will be broken",
}


def why_no_alerts(promise: Promise, classes: Sequence[QoEClass]) -> str | None:
    """Why a promise has no burn alerts; None where it has some."""
    if not _counted(classes):
        return "every class is batch, and no promise is made for batch"
    if promise.bad_share == 0:
        return "goodFraction is 1: there is no error budget to burn"
    if promise.window < LEAST_WINDOW:
        return "the objective's window is below a day: nobody who is told could act in time"
    return None


def service_groups(
    *, namespace: str, name: str, promise: Promise, classes: Sequence[QoEClass], runbook_url: str = ""
) -> tuple[Group, ...]:
    """The rule groups of a service: pages each minute, warnings each five minutes; none where `why_no_alerts` says why.

    They read what `recording_groups` records. `runbook_url`: an address with {alert} in place of the alert's name.
    """
    if why_no_alerts(promise, classes) is not None:
        return ()
    service = _Service(namespace=namespace, name=name, promise=promise, runbook_url=runbook_url)
    tiers = burn_tiers(promise)
    pages = [service.burn(tier) for tier in tiers if tier.severity == "critical"]
    warnings = [
        service.burn(tier, each_class=len(_counted(classes)) > 1) for tier in tiers if tier.severity == "warning"
    ]
    warnings.append(service.spent())
    known_as = f"andante.{namespace}.{name}"
    return (
        {"name": known_as, "interval": "1m", "rules": pages},
        {"name": f"{known_as}.slow", "interval": "5m", "rules": warnings},
    )


def replayed_rules(
    *, namespace: str, name: str, promise: Promise, classes: Sequence[QoEClass], requests: float
) -> tuple[Rule, ...]:
    """The burn alerts from the engines' counters alone, for a history in which nothing was recorded yet.

    `requests`: how many of the last 28 days the budget is reckoned from. Single classes are not looked at.
    """
    if why_no_alerts(promise, classes) is not None:
        return ()
    service = _Service(namespace=namespace, name=name, promise=promise, runbook_url="", requests=requests)
    return tuple(service.burn(tier) for tier in burn_tiers(promise))


def _counted(classes: Sequence[QoEClass]) -> list[QoEClass]:
    return [c for c in classes if c.pace > 0 or c.deadline is not None]


class _Service:
    """What the rules of one service have in common."""

    def __init__(
        self, *, namespace: str, name: str, promise: Promise, runbook_url: str, requests: float | None = None
    ) -> None:
        """`requests`: of the last 28 days; None: as they are recorded."""
        self._promise, self._runbook_url, self._requests = promise, runbook_url, requests
        self._namespace, self._name = namespace, name
        self._labels = selector({"namespace": namespace, "llmservice": name})

    def burn(self, tier: BurnTier, *, each_class: bool = False) -> Rule:
        """The alert of a tier. `each_class`: also where a single class burns, whatever the others do."""
        recorded = self._requests is None and self._promise.window >= WHOLE_WEEK
        bad, long, short = self._recorded(tier) if recorded else self._raw(tier)
        # The share of the budget that bad requests must have burnt, of the requests of the promise's whole window.
        share = tier.budget_share * self._promise.bad_share
        share *= self._promise.window / (recording.RECORDED_DAYS * DAY)
        requests = newest(f"{recording.REQUESTS_28D}{self._labels}")
        if self._requests is not None:
            requests = number(self._requests)
        ratio = number(tier.ratio)
        expression = _all(
            f"{bad} >= {number(tier.least_bad)}",
            f"{bad} > {number(share)} * {requests}",
            f"{long} > {ratio}",
            f"{short} > {ratio}",
        )
        if tier.tier == "slow" and self._requests is None:
            expression += f"\nunless on () {self._paged_already(tier)}"
        window, percent = duration(tier.long), number(100 * tier.ratio)
        return alert(
            tier.alert,
            expression=f"{expression}\nor {self._of_a_class(tier)}" if each_class else expression,
            severity=tier.severity,
            tier=tier.tier,
            summary=_SUMMARY[tier.tier] + (_CLASS if each_class else ""),
            description=f"{{{{ printf `%.0f` $value }}}} bad requests in the last {window}: over {percent} % of all and"
            f" {number(100 * tier.budget_share)} % of the budget of {duration(self._promise.window)}. The last"
            f" {duration(tier.short)} were no better.",
            runbook_url=self._runbook_url,
        )

    def _paged_already(self, tier: BurnTier) -> str:
        """The fast alert fired within the short window: what that window still holds may be a fault that is over."""
        labels = selector({"alertname": BURN_FAST, "namespace": self._namespace, "llmservice": self._name})
        return f"last_over_time(ALERTS{labels}[{duration(tier.short)}])"

    def _of_a_class(self, tier: BurnTier) -> str:
        """A class with few requests may be served badly for days while the service as a whole keeps its promise.

        The class has the share of the budget that its requests have: a share of bad requests costs as much of that.
        """
        ratio = max(tier.ratio, tier.budget_share * self._promise.bad_share * self._promise.window / tier.long)

        def summed(name: str, window: float) -> str:
            return f"sum_over_time({name}{self._labels}[{duration(window)}])"

        def above(window: float) -> str:
            bad, all_ = summed(recording.CLASS_BAD_5M, window), summed(recording.CLASS_REQUESTS_5M, window)
            return f"{bad} > {number(ratio)} * {all_}"

        enough = f"{summed(recording.CLASS_BAD_5M, tier.long)} >= {number(tier.least_bad)}"
        return _all(enough, above(tier.long), above(tier.short))

    def spent(self) -> Rule:
        return alert(
            BUDGET_SPENT,
            # The smallest, and without the operator's pod: the alert goes on while that is replaced.
            expression=f"min {BY_SERVICE} ({metric_names.SLO_BUDGET_REMAINING_RATIO}{self._labels}) < 0",
            severity="warning",
            tier="budget",
            summary=f"{_SERVICE}: the promise is broken",
            description=f"More requests of the last {duration(self._promise.window)} were bad than the objective allows"
            f" ({number(100 * self._promise.bad_share)} %).",
            runbook_url=self._runbook_url,
            wait="15m",
        )

    def _recorded(self, tier: BurnTier) -> tuple[str, str, str]:
        """Bad requests of the long window, their share of it, and the share of the short one, as recorded for all."""
        named = {
            "fast": (recording.BAD_1H, recording.RATIO_1H, recording.RATIO_5M),
            "slow": (recording.BAD_6H, recording.RATIO_6H, recording.RATIO_30M),
            "trend": (recording.BAD_3D, recording.RATIO_3D, recording.RATIO_6H),
        }[tier.tier]
        bad, long, short = (f"{name}{self._labels}" for name in named)
        return (newest(bad), newest(long), short) if tier.tier == "trend" else (bad, long, short)

    def _raw(self, tier: BurnTier) -> tuple[str, str, str]:
        """The same for windows that nobody else has, from the engines' counters."""

        def counted(window: float) -> tuple[str, str]:
            requests, good = (
                f"increase({name}{self._labels}[{duration(window)}])"
                for name in (metric_names.SCORED_REQUESTS, metric_names.GOOD_REQUESTS)
            )
            bad = f"clamp_min(sum {BY_SERVICE} ({once(f'{requests} - {good}')}), 0)"
            return bad, f"sum {BY_SERVICE} ({once(requests)})"

        bad, requests = counted(tier.long)
        short_bad, short_requests = counted(tier.short)
        short = ratio_with_open(bad=short_bad, requests=short_requests, matching=self._labels)
        return bad, f"{bad} / ({requests} > 0)", short


def _all(*conditions: str) -> str:
    return "\nand ".join(conditions)
