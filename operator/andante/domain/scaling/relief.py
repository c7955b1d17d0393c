"""Asks about a measured deficit: is there load that more replicas would relieve, and did the last ones help?

A deficit that load has caused is not always cured by replicas. The load may stay where it is: connections that are kept
open go on with their old pods. An engine may hang. New pods may never start. A reader may be alone on a replica, or one
late request be all that there is. Each of these is named, and the deficit buys nothing. `decide` asks at each tick: the
plan (`law`) then goes on without the measured deficit and without the work that waits, and learns no capacity from it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from andante.domain.scaling.explain import Proposal
from andante.domain.scaling.figures import Observed, value_of
from andante.domain.scaling.numbers import number, optional_number, past, since, without_nulls
from andante.domain.scaling.snapshot import Snapshot

VERSION = 1
HELPED = 0.25
"""Purchases helped where the deficit fell by this share, or the throughput rose by this share of what the replicas
added. Less is chance: both figures are means over a minute."""
IN_VAIN = 2
"""Purchases in a row that may not help: the first one may come too late for its surge."""
RETRY_SECONDS = 3600.0
"""After this time one more purchase is tried: the cause may be gone without a sign in the figures."""
HANG_SECONDS = 120.0
"""Time without a token of any ended request, with open requests, after which the engines count as hung."""
LEAST_LOST = 1.0
"""Requests' worth of loss that are no evidence: one late request in a quiet minute is chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """What was measured when replicas were bought."""

    ready: int
    deficit: float
    throughput: float | None
    """Tokens/s; None: not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relief:
    """What is known of earlier purchases. Times are seconds of the caller's clock."""

    purchase: Purchase | None = None
    """The purchase whose effect is not known yet."""
    in_vain: int = 0
    """Purchases in a row that did not help."""
    in_vain_since: float | None = None
    """When the last of them was judged."""
    idle_since: float | None = None
    """Time since which a ready replica has had no request while readers were late on others."""
    silent_since: float | None = None
    """Time since which there have been open requests and not one token."""

    def learned(self, snapshot: Snapshot, now: float, *, settled: bool) -> Self:
        """The knowledge after this tick. `settled`: the deficit shows the capacity of all ready replicas."""
        late, opened, tokens = snapshot.late, value_of(snapshot.open_requests) or 0.0, value_of(snapshot.throughput)
        silent = opened >= 1 and tokens == 0
        each = snapshot.open_on_each
        unused = late and len(each) > 1 and min(each) == 0 and max(each) > 1
        found = dataclasses.replace(
            self,
            idle_since=since(self.idle_since, now, holds=unused),
            silent_since=since(self.silent_since, now, holds=silent),
        )
        if not late:
            return dataclasses.replace(found, purchase=None, in_vain=0, in_vain_since=None)
        bought = found.purchase
        if bought is None or not settled or snapshot.replicas.ready <= bought.ready or snapshot.warming:
            return found
        if _helped(bought, deficit=snapshot.load_deficit, throughput=tokens, ready=snapshot.replicas.ready):
            return dataclasses.replace(found, purchase=None, in_vain=0, in_vain_since=None)
        return dataclasses.replace(found, purchase=None, in_vain=found.in_vain + 1, in_vain_since=now)

    def bought(self, snapshot: Snapshot) -> Self:
        """The knowledge once a deficit has bought replicas. A further purchase before the first one could help belongs
        to the first."""
        if self.purchase is not None and self.purchase.ready <= snapshot.replicas.ready:
            return self
        ready, throughput = snapshot.replicas.ready, value_of(snapshot.throughput)
        purchase = Purchase(ready=ready, deficit=snapshot.load_deficit, throughput=throughput)
        return dataclasses.replace(self, purchase=purchase)

    def without_quiet(self) -> Self:
        """The knowledge where it is not known what happened since."""
        return dataclasses.replace(self, idle_since=None, silent_since=None)

    def without_future(self, latest: float) -> Self:
        """The knowledge without times after `latest`."""
        forged = self.in_vain_since != past(self.in_vain_since, latest)
        return dataclasses.replace(
            self,
            in_vain=0 if forged else self.in_vain,
            in_vain_since=None if forged else self.in_vain_since,
            idle_since=past(self.idle_since, latest),
            silent_since=past(self.silent_since, latest),
        )

    def to_state(self) -> dict[str, Any]:
        """The knowledge as JSON; unknown values are left out."""
        bought = self.purchase
        state = {
            "v": VERSION,
            "purchase": None if bought is None else [bought.ready, bought.deficit],
            "throughput": None if bought is None else bought.throughput,
            "inVain": self.in_vain,
            "inVainSince": self.in_vain_since,
            "idleSince": self.idle_since,
            "silentSince": self.silent_since,
        }
        return without_nulls(state)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """The knowledge; empty where the format is not known. Raises ValueError or TypeError for invalid content."""
        if state.get("v") != VERSION:
            return cls()
        purchase = None
        if state.get("purchase") is not None:
            ready, deficit = state["purchase"]
            throughput = optional_number(state.get("throughput"))
            purchase = Purchase(ready=int(ready), deficit=number(deficit), throughput=throughput)
        return cls(
            purchase=purchase,
            in_vain=int(number(state.get("inVain") or 0, least=0.0)),
            in_vain_since=optional_number(state.get("inVainSince")),
            idle_since=optional_number(state.get("idleSince")),
            silent_since=optional_number(state.get("silentSince")),
        )


def obstacle(
    relief: Relief, snapshot: Snapshot, now: float, *, peak_load: float, ready_since: float | None
) -> Proposal | None:
    """Why a deficit buys nothing now; None: replicas may help. `peak_load`: open requests per replica, the largest of
    the last window."""
    present, rules = snapshot.replicas.spec, snapshot.rules
    overdue, silent, idle = snapshot.replicas.overdue_on_a_node, relief.silent_since, relief.idle_since

    started = ready_since is not None and now - ready_since <= rules.warmup_bound
    if overdue > 1 and not started:
        return Proposal(
            replicas=present,
            reason="ReplicasDoNotStart",
            message=f"{overdue} replicas have a node and did not become ready within {rules.warmup_bound:.0f} s, and no"
            " other did since: another one would not start either. See the condition Ready for the cause",
        )
    if silent is not None and now - silent >= HANG_SECONDS:
        return Proposal(
            replicas=present,
            reason="ReplicaHangs",
            message=f"requests are open, and no engine has ended one or told a token for {now - silent:.0f} s: restart"
            " the pods, as another replica does not free them",
        )
    if idle is not None and now - idle >= rules.settle:
        return Proposal(
            replicas=present,
            reason="LoadDoesNotSpread",
            message=f"a ready replica has had no request for {now - idle:.0f} s while readers wait on others: another"
            " one would get none either. Clients or a proxy keep their connections to the old pods",
        )
    tried = relief.in_vain_since
    if relief.in_vain >= IN_VAIN and tried is not None and now - tried < RETRY_SECONDS:
        return Proposal(
            replicas=present,
            reason="ReplicasDoNotHelp",
            message=f"the last {relief.in_vain} purchases neither lowered the deficit nor raised the throughput;"
            f" Andante tries one more {RETRY_SECONDS / 60:.0f} min after the last one",
        )
    if 0 < peak_load <= 1:
        return Proposal(
            replicas=present,
            reason="ReplicasDoNotHelp",
            message="no replica has more than one request at a time: another one serves a reader who is alone on a"
            " replica no faster",
        )
    lost = _lost(snapshot)
    if lost is not None and lost <= LEAST_LOST:
        return Proposal(
            replicas=present,
            reason="LittleEvidence",
            message=f"load has cost what {lost:.1f} lost requests would have cost: too little to tell chance from load",
        )
    return None


def _helped(bought: Purchase, *, deficit: float, throughput: float | None, ready: int) -> bool:
    if deficit <= (1 - HELPED) * bought.deficit:
        return True
    if throughput is None or bought.throughput is None:
        return True  # not known: the doubt is the readers'
    added = ready / max(bought.ready, 1) - 1
    return throughput >= bought.throughput * (1 + HELPED * added)


def _lost(snapshot: Snapshot) -> float | None:
    """Requests' worth of the measured deficit; None: the number of requests is not known."""
    rate, opened = value_of(snapshot.demand.arrivals), snapshot.open_requests
    if rate is None or not isinstance(opened, Observed):
        return None
    requests = rate * snapshot.rules.settle + opened.value
    return snapshot.load_deficit / snapshot.rules.target_qoe * requests
