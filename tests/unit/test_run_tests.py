"""What the runner of the suites runs beside what, and what it says at the end of its output."""

import sys
from pathlib import Path

import pytest
from hack import run_tests

_FAILS_AND_GOES_ON = """
print("FAILED tests/unit/test_a.py::test_b - assert 1 == 2")
print('\\n'.join(f'{i} done' for i in range(100)))
raise SystemExit(1)
"""
_FAILS_WITHOUT_A_WORD_OF_PYTEST = """
print("first")
print("ld: cannot find -lz")
raise SystemExit(1)
"""


def _end_of_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], program: str) -> str:
    suite = run_tests.Suite("unit", "one command", ((sys.executable, "-c", program),))
    monkeypatch.setattr(run_tests, "SUITES", (suite,))
    monkeypatch.setattr(run_tests, "STAGES", (run_tests.Stage((("unit",),)),))
    monkeypatch.setattr(sys, "argv", ["run_tests.py"])
    assert run_tests.main() == 1
    return capsys.readouterr().out.split("=== what failed in unit")[1]


def test_the_end_names_the_test_that_failed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    end = _end_of_run(monkeypatch, capsys, _FAILS_AND_GOES_ON)
    assert "FAILED tests/unit/test_a.py::test_b - assert 1 == 2" in end
    assert "99 done" not in end


def test_the_end_repeats_the_last_lines_of_what_is_not_pytest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "ld: cannot find -lz" in _end_of_run(monkeypatch, capsys, _FAILS_WITHOUT_A_WORD_OF_PYTEST)


def _suite(name: str, program: str) -> run_tests.Suite:
    return run_tests.Suite(name, "one command", ((sys.executable, "-c", program),))


def test_the_lane_that_is_done_first_takes_the_rest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    done = tmp_path / "rest"
    waits = f"import pathlib, time\nwhile not pathlib.Path({str(done)!r}).exists(): time.sleep(0.05)"
    suites = (_suite("long", waits), _suite("short", ""), _suite("rest", f"open({str(done)!r}, 'w')"))
    monkeypatch.setattr(run_tests, "SUITES", suites)
    monkeypatch.setattr(run_tests, "STAGES", (run_tests.Stage((("long",), ("short",)), rest=("rest",)),))
    monkeypatch.setattr(sys, "argv", ["run_tests.py"])
    assert run_tests.main() == 0
    assert "suites: 3 passed, 0 failed, 0 could not run" in capsys.readouterr().out


def test_a_suite_of_the_rest_runs_alone_when_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_tests, "SUITES", (_suite("first", "raise SystemExit(1)"), _suite("rest", "")))
    monkeypatch.setattr(run_tests, "STAGES", (run_tests.Stage((("first",),), rest=("rest",)),))
    monkeypatch.setattr(sys, "argv", ["run_tests.py", "rest"])
    assert run_tests.main() == 0
    assert "suites: 1 passed, 0 failed, 0 could not run" in capsys.readouterr().out


def test_every_suite_has_its_place() -> None:
    placed = [name for stage in run_tests.STAGES for lane in (*stage.lanes, stage.rest) for name in lane]
    assert sorted(placed) == sorted(suite.name for suite in run_tests.SUITES)
