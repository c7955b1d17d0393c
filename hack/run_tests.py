#!/usr/bin/env python3
"""Runs the test suites one after another and says what ran, what could not run, and why.

`make test` calls it. With CI=true a suite that could not run, or a test that was skipped, is a failure: a green run
must mean that everything was seen. Standard library only; `hack/setup.sh` has made .venv before.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
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
    """One suite: what it shows, its commands in order, and `blocked`, which says why it cannot run here (or None)."""

    name: str
    shows: str
    commands: tuple[tuple[str, ...], ...]
    blocked: Callable[[], str | None] = _anywhere


def _pytest(*args: str) -> tuple[str, ...]:
    return (str(VENV / "python"), "-m", "pytest", "-q", *args)


SUITES: tuple[Suite, ...] = (
    Suite(
        "lint",
        "style, types and the layers of docs/architecture.md",
        (
            (str(VENV / "ruff"), "check", "."),
            (str(VENV / "ruff"), "format", "--check", "."),
            (str(VENV / "mypy"),),
            (str(VENV / "lint-imports"),),
        ),
    ),
    Suite("unit", "measures, policies, borders", (_pytest("tests/unit"),)),
    Suite("golden", "CRD, manifests, charts: no generated file drifts", (("make", "helm"), _pytest("tests/golden"))),
    Suite("contract", "our classes inside the real vLLM, on a virtual GPU", (("make", "test-contract"),), _linux),
    Suite(
        "operator",
        "the operator and the CRD against a real API server",
        (("make", "control-plane-binaries"), _pytest("tests/operator")),
        _linux,
    ),
    Suite(
        "cluster",
        "the local cluster comes up, runs a pod and leaves nothing behind",
        (("make", "cluster-binaries"), _pytest("tests/cluster")),
        _root_on_linux,
    ),
    Suite(
        "e2e",
        "helm install to streamed tokens on a real node",
        (("make", "engine-env"), _pytest("tests/e2e", "--timeout=1500")),
        _root_on_linux,
    ),
)


def _run(command: Sequence[str]) -> int:
    print(f"$ {shlex.join(command)}", flush=True)
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def main() -> int:
    """Run the suites named on the command line (default: all); 0 when all that ran passed, 1 otherwise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"any of: {', '.join(s.name for s in SUITES)}")
    wanted = parser.parse_args().suites
    unknown = set(wanted) - {s.name for s in SUITES}
    if unknown:
        parser.error(f"no suite named {', '.join(sorted(unknown))}")
    strict = os.environ.get("CI") == "true"
    rows: list[tuple[str, str, float]] = []
    for suite in SUITES:
        if wanted and suite.name not in wanted:
            continue
        print(f"\n=== {suite.name}: {suite.shows}", flush=True)
        reason = suite.blocked()
        if reason:
            rows.append((suite.name, f"could not run: {reason}", 0.0))
            continue
        started = time.monotonic()
        failed = next((c for c in suite.commands if _run(c) != 0), None)
        verdict = f"FAILED at: {shlex.join(failed)}" if failed else "passed"
        rows.append((suite.name, verdict, time.monotonic() - started))
    print("\n=== summary")
    for name, verdict, seconds in rows:
        print(f"{name:10} {seconds:6.0f} s  {verdict}")
    bad = [r for r in rows if r[1].startswith("FAILED") or (strict and r[1].startswith("could not run"))]
    passed = sum(r[1] == "passed" for r in rows)
    print(f"suites: {passed} passed, {len(bad)} failed, {len(rows) - passed - len(bad)} could not run")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
