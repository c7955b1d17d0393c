"""Every plan is checked before an engine believes it: what none can carry out is refused, with the field's name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andante.domain.scheduling.plan_check import BrokenPlanError, check_plan
from andante.domain.scheduling.view import NOBODY, Plan
from unit.scheduling_views import requests

VIEW = requests(4, running=[True, True, False, False])
INDICES = st.lists(st.integers(-3, 7), max_size=5)


def ints(*values: int) -> Any:
    return np.array(values, dtype=np.int64)


@pytest.mark.parametrize(
    "plan",
    [
        Plan(admit=NOBODY),
        Plan(admit=ints(3, 2), preempt=ints(1), victims=ints(0, 1), step_tokens=1),
        Plan(admit=NOBODY, step_tokens=4096),
    ],
)
def test_what_can_be_carried_out_passes(plan: Plan) -> None:
    check_plan(plan, VIEW)


@pytest.mark.parametrize(
    ("field", "plan"),
    [
        ("step_tokens", Plan(admit=NOBODY, step_tokens=-(2**63))),
        ("step_tokens", Plan(admit=NOBODY, step_tokens=0)),
        ("step_tokens", Plan(admit=NOBODY, step_tokens=float("nan"))),  # type: ignore[arg-type]
        ("step_tokens", Plan(admit=NOBODY, step_tokens=True)),
        ("admit", Plan(admit=ints(4))),
        ("admit", Plan(admit=ints(-1))),
        ("admit", Plan(admit=ints(2, 2))),
        ("admit", Plan(admit=ints(0))),
        ("admit", Plan(admit=np.array([np.nan]))),  # type: ignore[arg-type]
        ("admit", Plan(admit=[2])),  # type: ignore[arg-type]
        ("admit", Plan(admit=ints(2).reshape(1, 1))),
        ("preempt", Plan(admit=NOBODY, preempt=ints(2))),
        ("preempt", Plan(admit=NOBODY, preempt=ints(2**62))),
        ("victims", Plan(admit=NOBODY, victims=ints(1, 0, 1))),
    ],
)
def test_what_cannot_is_refused_by_name(field: str, plan: Plan) -> None:
    with pytest.raises(BrokenPlanError, match=f"^{field}: "):
        check_plan(plan, VIEW)


@given(admit=INDICES, preempt=INDICES, tokens=st.none() | st.integers())
def test_it_takes_exactly_what_can_be_carried_out(admit: list[int], preempt: list[int], tokens: int | None) -> None:
    sound = (
        len({*admit, *preempt}) == len(admit) + len(preempt)
        and {*admit} <= {2, 3}
        and {*preempt} <= {0, 1}
        and (tokens is None or tokens >= 1)
    )
    try:
        check_plan(Plan(admit=ints(*admit), preempt=ints(*preempt), step_tokens=tokens), VIEW)
    except BrokenPlanError:
        assert not sound
    else:
        assert sound
