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
from andante.cli.cluster_reader import OWNER, NotRead
from andante.cli.plain import plain, span
from andante.ports import Object

OLD_SECONDS: Final = 300.0
"""Figures of a service with traffic are written once a minute or so."""
_AHEAD_SECONDS: Final = 30.0
"""So far may a clock be ahead of the API server's."""
_GRACE_SECONDS: Final = 10.0
_LONGEST_LEASE_SECONDS: Final = 60.0
"""No operator's Lease lasts longer, whatever the Lease says."""
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
    contradicted: bool = False
    """Not known because there are several Leases, which do not say the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lease:
    namespace: str
    fresh: bool | None
    """None: not known, as its time cannot be right."""
    owned: bool
    """By the Deployment of an operator."""
    words: str


def operator_view(leases: Sequence[Object] | NotRead, now: float) -> OperatorView:
    """Judge by the operators' Leases; an operator that ends in good order deletes its own.

    Anyone may make a Lease of this name in a namespace of theirs. So a Lease that is renewed is no proof where another
    one is not, unless just one of them belongs to the Deployment of an operator.
    """
    if isinstance(leases, NotRead):
        return OperatorView(runs=None, words=f"not known whether one runs: {leases.why}")
    seen = [read for lease in leases if (read := _lease(lease, now)) is not None]
    if not seen:
        return OperatorView(runs=False, words="none runs: the cluster has no Lease of one")
    owned = [one for one in seen if one.owned]
    told = "; ".join(f"that {one.words}" for one in seen)
    if len({one.fresh for one in seen}) > 1 and len(owned) != 1:
        chosen = next(iter(owned or seen))
        words = (
            f"not known whether one runs: {len(seen)} Leases have the operator's name, and some are not renewed: {told}"
        )
        return OperatorView(runs=None, words=words, namespace=chosen.namespace, contradicted=True)
    chosen = next(iter(owned or seen))
    state = {True: "runs", False: "does not run", None: "not known whether one runs"}[chosen.fresh]
    if len(seen) == 1:
        told = f"its Lease {chosen.words}"
    else:
        whose = f"; that in namespace {chosen.namespace} is the operator's, by its owner" if len(owned) == 1 else ""
        told = f"{len(seen)} Leases have its name{whose}: {told}"
    return OperatorView(runs=chosen.fresh, words=f"{state}: {told}", namespace=chosen.namespace)


def _lease(lease: Object, now: float) -> _Lease | None:
    """None: it was never held."""
    metadata, spec = lease["metadata"], lease.get("spec") or {}
    renewed = _renewed(metadata, spec)
    if renewed is None:
        return None
    namespace, holder = plain(metadata.get("namespace"), 63), plain(spec.get("holderIdentity") or "", 80)
    by = f" by {holder}" if holder else ""
    right = renewed <= now + _AHEAD_SECONDS
    when = f"{span(now - renewed)} ago" if right else "at a time that is still to come"
    lasts = min(float(spec.get("leaseDurationSeconds") or 0), _LONGEST_LEASE_SECONDS)
    return _Lease(
        namespace=namespace,
        fresh=now - renewed <= lasts + _GRACE_SECONDS if right else None,
        owned=any((o.get("kind"), o.get("name")) == OWNER for o in metadata.get("ownerReferences") or ()),
        words=f"in namespace {namespace} was renewed {when}{by}",
    )


def _renewed(metadata: Object, spec: Object) -> float | None:
    """When it was renewed last: by the API server's clock where it tells that, as the holder's clock may be wrong."""
    times = [
        seconds(entry.get("time"))
        for entry in metadata.get("managedFields") or ()
        if "f:renewTime" in ((entry.get("fieldsV1") or {}).get("f:spec") or {})
    ]
    held = seconds(spec.get("renewTime"))
    return held if held is None else max((at for at in times if at is not None), default=held)
