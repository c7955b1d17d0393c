#!/usr/bin/env python3
"""Runs the test suites, some at a time where that is safe, and says what ran, what could not run, and why.

`make test` calls it. With CI=true, a suite that could not run and a test that was skipped are failures: a green run
must mean that everything ran. It uses the standard library only; `hack/setup.sh` creates .venv before.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv" / "bin"


def _anywhere() -> str | None:
    return None


def _linux() -> str | None:
    return None if platform.system() == "Linux" else "needs Linux (etcd and kube-apiserver are built for it)"


def _root_on_linux() -> str | None:
    return _linux() or (None if os.geteuid() == 0 else "needs root: the native node runs containerd and kubelet")


@dataclass(frozen=True, slots=True)
class Suite:
    """One suite. `shows`: its purpose. `commands`: in order. `blocked`: returns why it cannot run here, or None."""

    name: str
    shows: str
    commands: tuple[tuple[str, ...], ...]
    blocked: Callable[[], str | None] = _anywhere


def _pytest(*args: str) -> tuple[str, ...]:
    return (str(VENV / "python"), "-m", "pytest", "-q", *args)


def _end_to_end(name: str, shows: str) -> Suite:
    folder = f"tests/e2e/{name.replace('-', '_')}"
    tests = _pytest(folder, "--timeout=1500", f"--cluster=andante-e2e-{name}")
    return Suite(name, shows, (("make", "engine-env"), tests), _root_on_linux)


SUITES: tuple[Suite, ...] = (
    Suite(
        "lint",
        "style, types and the layers of docs/architecture.md",
        (
            (str(VENV / "ruff"), "check", "."),
            (str(VENV / "ruff"), "format", "--check", "."),
            (str(VENV / "mypy"),),
            (str(VENV / "lint-imports"),),
            ("make", "workflow-lint"),
        ),
    ),
    Suite("unit", "measures, policies, boundaries", (_pytest("tests/unit"),)),
    Suite("golden", "CRD, manifests, charts: no generated file drifts", (("make", "helm"), _pytest("tests/golden"))),
    Suite("alerts", "each alert fires where it should, on Prometheus 2 and 3", (_pytest("tests/alerts"),), _linux),
    Suite("contract", "our classes inside the real vLLM, on a virtual GPU", (("make", "test-contract"),), _linux),
    Suite(
        "operator",
        "the operator and the CRD against a real API server",
        (("make", "control-plane-binaries", "prometheus-operator"), _pytest("tests/operator")),
        _linux,
    ),
    Suite(
        "cluster",
        "the local cluster comes up, runs a pod and leaves nothing behind",
        (("make", "cluster-binaries"), _pytest("tests/cluster")),
        _root_on_linux,
    ),
    _end_to_end("changes", "a live service on a real node: whatever changes, no stream is cut"),
    _end_to_end("install", "every way from nothing to an answer, on real nodes"),
    _end_to_end("on-call", "real Prometheus and Alertmanager beside a real node: who is called, and when it is over"),
)


@dataclass(frozen=True, slots=True)
class Stage:
    """Suites that run at the same time. `lanes`: each in its order. `rest`: in order, by the lanes that are done."""

    lanes: tuple[tuple[str, ...], ...]
    rest: tuple[str, ...] = ()


# In the first stage one lane computes, and the other waits for a control plane; which of them ends first depends on the
# machine. The end-to-end suites wait for engines, drains and alerts more than they compute; a test that compares times
# waits until the others' engines have started (tests/e2e/machine_load.py).
STAGES: tuple[Stage, ...] = (
    Stage((("lint", "unit", "golden", "contract"), ("operator",)), rest=("cluster", "alerts")),
    Stage((("changes",), ("install",), ("on-call",))),
)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the summary. `failed`: it ran and did not pass; `ran`: it could run at all."""

    name: str
    verdict: str
    seconds: float = 0.0
    ran: bool = True
    failed: bool = False
    why: tuple[str, ...] = ()


class Findings:
    """The lines of a suite's output that tell of its failures; they are repeated at the end of the log.

    These are pytest's lines: `E   ...` says what was wrong, `FAILED ...` and `ERROR ...` name the test. For an output
    without such lines (a compiler, a linter, a killed process) they are the last lines.
    """

    def __init__(self, *, most: int = 60, without: int = 20) -> None:
        self._told: deque[str] = deque(maxlen=most)
        self._last: deque[str] = deque(maxlen=without)

    def read(self, line: str) -> None:
        """Take one line of the output."""
        text = line.rstrip()
        self._last.append(text)
        if text.startswith(("E   ", "FAILED ", "ERROR ")):
            self._told.append(text)

    def lines(self) -> tuple[str, ...]:
        """The lines worth repeating, in the order of the output."""
        return tuple(self._told or self._last)


def _say(suite: Suite, line: str) -> None:
    # One write for each line, as lanes print at the same time.
    sys.stdout.write(f"{suite.name:8} | {line.rstrip()}\n")
    sys.stdout.flush()


def _run(suite: Suite, command: Sequence[str], findings: Findings) -> int:
    _say(suite, f"$ {shlex.join(command)}")
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        for line in process.stdout or ():
            _say(suite, line)
            findings.read(line)
    return process.returncode


def _run_suite(suite: Suite) -> Row:
    _say(suite, f"=== {suite.shows}")
    reason = suite.blocked()
    if reason:
        _say(suite, f"cannot run here: {reason}")
        return Row(suite.name, f"could not run: {reason}", ran=False)
    started = time.monotonic()
    findings = Findings()
    failed = next((c for c in suite.commands if _run(suite, c, findings) != 0), None)
    verdict = f"FAILED at: {shlex.join(failed)}" if failed else "passed"
    why = findings.lines() if failed else ()
    row = Row(suite.name, verdict, seconds=time.monotonic() - started, failed=failed is not None, why=why)
    _say(suite, f"=== {verdict}, {row.seconds:.0f} s")
    return row


def _run_stage(lanes: Sequence[Sequence[Suite]], rest: Sequence[Suite]) -> list[Row]:
    waiting = deque(rest)

    def run(lane: Sequence[Suite]) -> list[Row]:
        rows = [_run_suite(suite) for suite in lane]
        while waiting:
            try:
                suite = waiting.popleft()
            except IndexError:  # the other lane was first
                break
            rows.append(_run_suite(suite))
        return rows

    with ThreadPoolExecutor(max_workers=len(lanes)) as pool:
        return [row for rows in pool.map(run, lanes) for row in rows]


def main() -> int:
    """Run the suites on the command line (default: all). Returns 0 when all suites that ran passed, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"any of: {', '.join(s.name for s in SUITES)}")
    wanted = parser.parse_args().suites
    by_name = {suite.name: suite for suite in SUITES}
    unknown = set(wanted) - by_name.keys()
    if unknown:
        parser.error(f"no suite named {', '.join(sorted(unknown))}")
    strict = os.environ.get("CI") == "true"
    rows: list[Row] = []
    for stage in STAGES:
        *lanes, rest = [
            [by_name[name] for name in names if not wanted or name in wanted] for names in (*stage.lanes, stage.rest)
        ]
        lanes = [lane for lane in lanes if lane] or ([[]] if rest else [])
        if lanes:
            rows += _run_stage(lanes, rest)
    for row in rows:
        if row.why:
            print(f"\n=== what failed in {row.name}")
            print("\n".join(row.why))
    print("\n=== summary")
    for row in rows:
        print(f"{row.name:10} {row.seconds:6.0f} s  {row.verdict}")
    bad = [row for row in rows if row.failed or (strict and not row.ran)]
    passed = sum(row.ran and not row.failed for row in rows)
    not_run = sum(not row.ran for row in rows)
    print(f"suites: {passed} passed, {sum(row.failed for row in rows)} failed, {not_run} could not run")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
