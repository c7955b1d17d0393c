"""What the runner of the suites says at the end of its output."""

import sys

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
    monkeypatch.setattr(run_tests, "STAGES", ((("unit",),),))
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
