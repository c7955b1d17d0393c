"""Reads out of a service's object what `andante explain` and `andante status` show. Pure.

An operator of another version may write fields that this command does not know, or leave out what it does: what is
known is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pydantic import ValidationError

from andante.api.v1alpha1 import Condition, LLMService, LLMServiceStatus, SpecError
from andante.api.v1alpha1.service import LLMServiceSpec
from andante.app.children import FIELD_MANAGER
from andante.app.status.problems import ORDER, problems, short
from andante.cli.cluster_reader import NotRead
from andante.cli.plain import plain, span
from andante.ports import Object

OLD_SECONDS: Final = 300.0
"""Figures of a service with traffic are written once a minute or so."""
_RANK: Final = {aspect.type: rank for rank, aspect in enumerate(ORDER)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceView:
    """One service as its object tells it."""

    namespace: str
    name: str
    spec: LLMServiceSpec | None
    """None: this version of the command cannot read it."""
    spec_problem: str
    status: LLMServiceStatus
    """With the CRD's default, which says that no operator has acted; empty where it cannot be read."""
    status_problem: str
    """Why it cannot be read."""
    written: float | None
    """When an operator wrote the status last, Unix time; None: not known, or never."""

    @property
    def problems(self) -> list[Condition]:
        """The conditions that are not well, the worst first."""
        return problems(self.status.conditions)

    @property
    def problem(self) -> str:
        """The worst problem in one word; empty: there is none."""
        if self.status_problem:
            return "StatusUnreadable"
        return next((plain(short(condition), 80) for condition in self.problems), "")

    @property
    def ready(self) -> str:
        """As in 1/3; `?` where it is not known."""
        status = self.status
        if status.summary and status.summary.ready:
            return plain(status.summary.ready, 63)
        desired = status.scaling.desired if status.scaling else None
        if status.ready_replicas is None:
            return "?"
        return f"{status.ready_replicas}/{'?' if desired is None else desired}"

    @property
    def budget_left(self) -> float | None:
        """Share of the error budget; None: not known."""
        return self.status.qoe.error_budget_remaining if self.status.qoe else None

    @property
    def badness(self) -> tuple[int, float, str, str]:
        """Sorts the services, the worst first."""
        worst = -1 if self.status_problem else next((_RANK[c.type] for c in self.problems), len(_RANK))
        left = self.budget_left
        return worst, 2.0 if left is None else left, self.namespace, self.name


def view(obj: Object) -> ServiceView:
    """Read a service, as far as this version of the command can."""
    metadata = obj["metadata"]
    spec: LLMServiceSpec | None = None
    status, problem, status_problem = LLMServiceStatus(), "", ""
    try:
        spec = LLMService.parse({**obj, "status": {}}).spec
    except SpecError as error:
        problem = plain(error, 400)
    try:
        status = LLMServiceStatus.model_validate(obj.get("status") or {})
    except ValidationError as error:
        status_problem = plain(error, 400)
    return ServiceView(
        namespace=metadata.get("namespace", "default"),
        name=metadata["name"],
        spec=spec,
        spec_problem=problem,
        status=status,
        status_problem=status_problem,
        written=_written(metadata),
    )


def _written(metadata: Object) -> float | None:
    times = [
        seconds(entry.get("time"))
        for entry in metadata.get("managedFields") or ()
        if entry.get("subresource") == "status" and entry.get("manager") == FIELD_MANAGER
    ]
    return max((at for at in times if at is not None), default=None)


def seconds(time: object) -> float | None:
    """Unix time of a timestamp of the API; None where there is none."""
    try:
        return datetime.fromisoformat(str(time)).timestamp()
    except ValueError:
        return None


def figures_age(shown: ServiceView, now: float) -> str:
    """The age of the figures in a word or two; what is missing, stale or without traffic says so."""
    qoe = shown.status.qoe
    if qoe is None or qoe.state is None:
        return "never measured"
    age = "?" if qoe.observed_at is None else span(now - qoe.observed_at.timestamp())
    return {"Observed": age, "Stale": f"stale {age}", "Missing": "missing", "NoTraffic": "no traffic"}[qoe.state]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorView:
    """Whether an operator runs, by its Lease."""

    runs: bool | None
    """None: not known."""
    words: str
    namespace: str = "andante-system"


def operator_view(leases: Sequence[Object] | NotRead, now: float) -> OperatorView:
    """Judge by the operators' Leases; an operator that ends in good order deletes its own."""
    if isinstance(leases, NotRead):
        return OperatorView(runs=None, words=f"not known whether one runs: {leases.why}")
    newest: tuple[float, Object] | None = None
    for lease in leases:
        renewed = seconds((lease.get("spec") or {}).get("renewTime"))
        if renewed is not None and (newest is None or renewed > newest[0]):
            newest = (renewed, lease)
    if newest is None:
        return OperatorView(runs=False, words="none runs: the cluster has no Lease of one")
    renewed, lease = newest
    namespace, age = str(lease["metadata"].get("namespace")), span(now - renewed)
    runs = now - renewed <= float(lease["spec"].get("leaseDurationSeconds") or 0) + 10
    told = f"its Lease in namespace {plain(namespace, 63)} was renewed {age} ago"
    return OperatorView(runs=runs, words=f"runs: {told}" if runs else f"does not run: {told}", namespace=namespace)
