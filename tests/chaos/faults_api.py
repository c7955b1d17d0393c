"""Defines faults of the API server: simulated by a proxy in front of it, or of the server itself."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from chaos.faults import Fault, Reach
from chaos.proxy import Request, Rule
from chaos.services import STORMY, VICTIM_NAMESPACES
from chaos.stage import Stage

WAYS = (
    "reset", "hang", "delay", "half", "lost", "login-page", "error-event", "401", "403", "409", "410", "429", "500",
    "503", "504",
)  # fmt: skip
"""Cut connections; requests without an answer or with a late one; half bodies; answers that are lost after the work was
done; a login page in place of JSON; ERROR events; HTTP status codes."""
SHARES = (0.2, 0.5, 1.0)
LONGEST_DELAY_SECONDS = 3.0
HANG_SECONDS = 22.0
"""Longer than the operator's time limit for a call."""


def _parts() -> dict[str, Callable[[Request], bool]]:
    return {
        "all": lambda _: True,
        "watches": lambda request: request.watch,
        "reads": lambda request: not request.writes and not request.watch,
        "writes": lambda request: request.writes and "/leases" not in request.path,
        "leases": lambda request: "/leases" in request.path,
        **{name: partial(_within, name) for name in VICTIM_NAMESPACES},
    }


def _within(namespace: str, request: Request) -> bool:
    return request.within(namespace)


def _applies(how: str, applies: Callable[[Request], bool], request: Request) -> bool:
    # Only a write can meet a conflict.
    if how == "409" and not request.writes:
        return False
    return applies(request)


def _break(how: str, parts: tuple[str, ...], stage: Stage, chance: random.Random, seconds: float) -> None:
    applies = partial(_applies, how, _parts()[chance.choice(parts)])
    share, delay = chance.choice(SHARES), chance.uniform(0.2, LONGEST_DELAY_SECONDS)
    with ExitStack() as stack:
        for one in stage.operators.both:
            stack.enter_context(one.api.rule(Rule(how=how, applies=applies, share=share, seconds=delay)))
            if chance.random() < 0.5:
                one.api.cut()  # so that open watches meet the fault, too
        time.sleep(seconds)


def _hang_long(stage: Stage, chance: random.Random, seconds: float) -> None:
    """Every call of one namespace, as where its admission webhook hangs, for longer than a call may take."""
    with ExitStack() as stack:
        for one in stage.operators.both:
            applies = _parts()[STORMY]
            stack.enter_context(one.api.rule(Rule(how="hang", applies=applies)))
        time.sleep(HANG_SECONDS + seconds)


def _refuse(stage: Stage, chance: random.Random, seconds: float) -> None:
    with chance.choice(stage.operators.both).api.refusing():
        time.sleep(seconds)


def _cut_watches(stage: Stage, chance: random.Random, seconds: float) -> None:
    for one in stage.operators.both:
        one.api.cut()


def _restart(stage: Stage, chance: random.Random, seconds: float) -> None:
    def work() -> None:
        stage.plane.stop_apiserver()
        time.sleep(seconds / 2)
        stage.plane.start_apiserver()

    stage.control_plane.submit(work).result()


def _pause(stage: Stage, chance: random.Random, seconds: float) -> None:
    def work() -> None:
        stage.plane.pause_apiserver()
        time.sleep(seconds)
        stage.plane.resume_apiserver()

    stage.control_plane.submit(work).result()


EVERYWHERE = ("all", "watches", "reads", "writes", "leases", *VICTIM_NAMESPACES)
FAULTS = (
    *(
        Fault(name=f"API {how}, one namespace", reach=Reach.VICTIM, work=partial(_break, how, VICTIM_NAMESPACES))
        for how in WAYS
    ),
    *(Fault(name=f"API {how}", reach=Reach.ALL, work=partial(_break, how, EVERYWHERE)) for how in WAYS),
    Fault(name="API hangs long, one namespace", reach=Reach.VICTIM, work=_hang_long, weight=0.3, long=True),
    Fault(name="API refuses connections", reach=Reach.ALL, work=_refuse, weight=2),
    Fault(name="watches cut", reach=Reach.ALL, work=_cut_watches, weight=2),
    Fault(name="API server restarts", reach=Reach.ALL, work=_restart, weight=0.5),
    Fault(name="API server stands still", reach=Reach.ALL, work=_pause, weight=0.5),
)
