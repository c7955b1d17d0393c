"""Our laws after ai-dynamo's planner decide what the planner itself decided on the same histories.

The planner's decisions are recorded, as its environment is large; `make league-check` compares the record with it.
"""

from __future__ import annotations

import json

import pytest

from unit.dynamo_histories import OURS, RECORDED, SEEDS, played

THEIRS = json.loads(RECORDED.read_text())["decisions"]


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_law_decides_as_the_planner_did(name: str) -> None:
    for seed in SEEDS:
        assert played(OURS[name](), seed) == THEIRS[name][str(seed)], seed


@pytest.mark.parametrize("name", sorted(OURS))
def test_the_histories_make_the_planner_act_both_ways(name: str) -> None:
    steps = [
        b - a for seed in SEEDS for a, b in zip(THEIRS[name][str(seed)], THEIRS[name][str(seed)][1:], strict=False)
    ]
    assert sum(step > 0 for step in steps) >= 10
    assert sum(step < 0 for step in steps) >= 10
