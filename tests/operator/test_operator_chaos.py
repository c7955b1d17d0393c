"""Each kind of fault once, many at the same time, and what must hold. `make chaos` runs for long."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chaos.faults import Reach, all_faults
from chaos.run import Chaos, plan
from chaos.stage import Stage

SEED = 2_026
VICTIMS_ONLY, ALL = (tuple(f for f in all_faults() if f.reach is reach) for reach in (Reach.VICTIM, Reach.ALL))


@pytest.fixture(scope="module")
def chaos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chaos]:
    with Stage(tmp_path_factory.mktemp("chaos")) as stage:
        chaos = Chaos(stage, seed=SEED, say=print)
        chaos.begin()
        yield chaos


@pytest.mark.parametrize("faults", [VICTIMS_ONLY, ALL], ids=["faults of victims", "faults of the operator and its API"])
def test_after_every_kind_of_fault_all_is_as_it_should_be(faults: tuple[object, ...], chaos: Chaos) -> None:
    chaos.group([plan(chaos.chance, fault) for fault in faults])
    assert not chaos.report.wrong, chaos.report.text()
