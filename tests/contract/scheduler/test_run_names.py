"""What the schedulers of the benchmarks' tables stand for."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
from benchmarks.scheduling.runs import NAMES, RunSpec, name_of, named
from benchmarks.scheduling.stock import BEST, DEFAULT

ANY = RunSpec(scheduler="", engine="model")


@pytest.mark.parametrize("name", NAMES)
def test_a_table_names_a_run_as_the_command_line_does(name: str) -> None:
    assert name_of(asdict(named(name, ANY))) == name


def test_stock_runs_with_its_best_flags_unless_the_name_says_otherwise() -> None:
    assert named("fcfs", ANY).stock == named("fcfs+host", ANY).stock == named("priority", ANY).stock == BEST
    assert named("fcfs-default", ANY).stock == named("qoe", ANY).stock == DEFAULT


def test_what_the_model_lacks_runs_on_vllms_classes() -> None:
    assert {named(name, ANY).engine for name in NAMES} == {"model"}
    assert named("qoe", replace(ANY, depth=2)).engine == "vllm"
