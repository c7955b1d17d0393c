"""Writes one line for each service, the worst first. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from andante.cli.cluster_reader import SeenFleet
from andante.cli.plain import plain, table
from andante.cli.service_view import OperatorView, ServiceView, figures_age, operator_view, view


def lines(seen: SeenFleet, *, with_namespace: bool) -> list[str]:
    """The table; `with_namespace`: of several namespaces."""
    header = [*(["NAMESPACE"] if with_namespace else []), "NAME", "READY", "BUDGET", "PROBLEM", "AGE"]
    return table(header, [_row(one, seen.now, with_namespace) for one in _sorted(seen)])


def document(seen: SeenFleet) -> dict[str, Any]:
    """The same for programs; what is not known is null."""
    operator = operator_view(seen.leases, seen.now)
    return {
        "operator": {"runs": operator.runs, "message": operator.words},
        "services": [
            {
                "namespace": one.namespace,
                "name": one.name,
                "ready": one.ready,
                "errorBudgetRemaining": one.budget_left,
                "problem": one.problem or None,
                "figures": figures_age(one, seen.now),
            }
            for one in _sorted(seen)
        ],
    }


def warning(operator: OperatorView) -> str | None:
    """What a reader of any status must know first."""
    if operator.contradicted:
        return (
            f"operator: {operator.words}. What follows may be old. What to do: delete the Lease that no operator holds;"
            " kubectl get pods --all-namespaces --selector app.kubernetes.io/name=andante-operator lists the operators"
        )
    if operator.runs is not False:
        return None
    return (
        f"operator: {operator.words}. All that follows is as it was then. What to do: kubectl get pods --all-namespaces"
        " --selector app.kubernetes.io/name=andante-operator"
    )


def _sorted(seen: SeenFleet) -> Sequence[ServiceView]:
    return sorted((view(obj) for obj in seen.services), key=lambda one: one.badness)


def _row(one: ServiceView, now: float, with_namespace: bool) -> list[str]:
    left = one.budget_left
    return [
        *([plain(one.namespace, 63)] if with_namespace else []),
        plain(one.name, 63),
        one.ready,
        "not known" if left is None else f"{round(100 * left)}%",
        one.problem,
        figures_age(one, now),
    ]
