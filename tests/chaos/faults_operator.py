"""Defines faults of the operators: killed, frozen, cut off from the API server, with a wrong clock."""

from __future__ import annotations

import random
import signal
import time
from functools import partial

from chaos.faults import Fault, Reach
from chaos.stage import TICK_SECONDS, Stage

LEASE = "/apis/coordination.k8s.io/v1/namespaces/andante-system/leases/andante-operator"
JUMPS = (-86_400, -3_600, -90, -20, -3, 3, 20, 90, 3_600, 86_400, 40_000_000)
"""Seconds by which a clock is changed."""
LEASE_SECONDS = 20.0


def _end(number: signal.Signals, stage: Stage, chance: random.Random, seconds: float) -> None:
    chance.choice(stage.operators.both).end(number)


def _end_both(stage: Stage, chance: random.Random, seconds: float) -> None:
    for one in stage.operators.both:
        one.end(chance.choice((signal.SIGKILL, signal.SIGTERM)))
        time.sleep(chance.choice((0, 0.1, 1)))


def _freeze(stage: Stage, chance: random.Random, seconds: float) -> None:
    with chance.choice(stage.operators.both).freezing():
        time.sleep(seconds)


def _set_clock(stage: Stage, chance: random.Random, seconds: float) -> None:
    """Change an operator's clock, and correct it later."""
    one, jump = chance.choice(stage.operators.both), chance.choice(JUMPS)
    with stage.locks["clocks"]:
        one.set_clock(jump)
        time.sleep(2 * TICK_SECONDS + seconds)
        one.set_clock(0)


def _partition(stage: Stage, chance: random.Random, seconds: float) -> None:
    """Cut the active operator off until the other one has taken over."""
    one = next(iter(stage.operators.leaders()), stage.operators.both[0])
    with one.api.refusing():
        time.sleep(LEASE_SECONDS + 4 + seconds)


def _take_lease(stage: Stage, chance: random.Random, seconds: float) -> None:
    stage.api.patch(LEASE, {"spec": {"holderIdentity": "another"}})


FAULTS = (
    Fault(name="operator killed", reach=Reach.ALL, work=partial(_end, signal.SIGKILL), weight=1.5),
    Fault(name="operator told to end", reach=Reach.ALL, work=partial(_end, signal.SIGTERM), weight=1.5),
    Fault(name="both operators ended", reach=Reach.ALL, work=_end_both, weight=0.5),
    Fault(name="operator frozen", reach=Reach.ALL, work=_freeze, weight=1.5),
    Fault(name="clock set", reach=Reach.ALL, work=_set_clock, weight=3),
    Fault(name="operator cut off", reach=Reach.ALL, work=_partition, weight=0.2, long=True),
    Fault(name="Lease taken", reach=Reach.ALL, work=_take_lease, weight=0.2, long=True),
)
