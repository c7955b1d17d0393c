"""Runs two operators, each behind a proxy and with its own clock. An operator that ends is started again."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
from hack.localcluster.api import ControlPlane

from chaos.proxy import ChaosAPI, Write
from debian_programs import program
from helm_release import OPERATOR, SYSTEM, Release

EXPLAINED = {3, 4}
"""Exit statuses of an operator whose log says why it cannot go on."""
LOOK_SECONDS = 0.2
SECONDS_BETWEEN_PROBES = 5.0
FAILURES_OF_LIVENESS = 3
SILENT_SECONDS = 60.0
"""An operator that does not answer for so long hangs, even on a busy machine."""
RESTART_SECONDS = 0.5
_ENTRY = re.compile(r"^(?=\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} )", re.MULTILINE)
_OF_KOPF = re.compile(r"\S+ \S+ [A-Z]+ kopf\.")


class ChaosOperator:
    """One operator with its proxy and its clock."""

    def __init__(
        self,
        release: Release,
        folder: Path,
        *,
        name: str,
        on_write: Callable[[Write], None],
        wrong: Callable[[str], None],
    ) -> None:
        folder.mkdir()
        self._lock = threading.Lock()
        self.name, self._wrong = name, wrong
        token = release.plane.kubectl("create", "token", OPERATOR, "-n", SYSTEM, "--duration=10h").stdout.strip()
        self.api = ChaosAPI(release.plane, folder, operator=name, token=token, on_write=on_write)
        self.process = release.operator(folder)
        self.process.kubeconfig = self.api.kubeconfig
        self._clock = folder / "clock"
        self.set_clock(0)
        self.process.environment = {**_faked_time(self._clock), "PYTHONFAULTHANDLER": "1"}
        self.ends: Counter[str] = Counter()
        self._asked_to_end = False
        self.frozen = False
        self._read = 0  # of the log
        self._started = self._probed = self._answered = 0.0
        self._failures = 0

    def set_clock(self, seconds: float) -> None:
        """Let the operator's wall clock be `seconds` ahead of the true time."""
        with self._lock:
            new = self._clock.with_suffix(".new")
            new.write_text(f"{seconds:+.0f}\n")
            new.replace(self._clock)

    def start(self) -> None:
        self._asked_to_end, self._failures = False, 0
        self._started = self._probed = time.monotonic()
        self.process.start(wait=False)

    def end(self, number: signal.Signals) -> None:
        with self._lock:
            self._asked_to_end = True
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    @contextmanager
    def freezing(self) -> Iterator[None]:
        """Stop the process inside the block."""
        self.frozen = True
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGCONT)
            self.frozen = False

    def tend(self) -> None:
        """Do a kubelet's work, and check the log and the end of the process for violations."""
        self._look_at_log()
        status = self.process.exit_status()
        if status is not None:
            self._look_at_end(status)
            time.sleep(RESTART_SECONDS)
            self.start()
        elif not self.frozen and time.monotonic() - self._probed > SECONDS_BETWEEN_PROBES:
            self._probed = time.monotonic()
            self._probe()

    def _probe(self) -> None:
        status, words = self.health()
        if status:
            self._answered = time.monotonic()
        self._failures = self._failures + 1 if status == 503 else 0
        silent = time.monotonic() - max(self._answered, self._started)
        if self._failures >= FAILURES_OF_LIVENESS or silent > SILENT_SECONDS:
            self._wrong(f"{self.name} had to be killed after {silent:.0f} s of silence: {status} {words}")
            self.end(signal.SIGABRT)  # then the log has the stack of each thread

    def health(self, path: str = "/healthz") -> tuple[int, dict[str, object]]:
        """Status 0 while it does not answer."""
        try:
            return self.process.health(path)
        except (httpx.HTTPError, ValueError) as error:
            return 0, {"error": repr(error)}

    def resident_mib(self) -> float:
        """Resident memory of the process."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))

    def _look_at_log(self) -> None:
        with self.process.log.open("rb") as log:
            log.seek(self._read)
            text = log.read().decode(errors="replace")
            self._read = log.tell()
        for entry in _ENTRY.split(text):
            # kopf logs each watch that ends with an exception. The operator starts it again.
            if "Traceback (most recent call last)" in entry and not _OF_KOPF.match(entry):
                self._wrong(f"{self.name}: an unforeseen exception: {entry[:4000]}")

    def _look_at_end(self, status: int) -> None:
        with self._lock:
            asked = self._asked_to_end
        self.ends[f"asked, {status}" if asked else str(status)] += 1
        if asked and status in (0, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGABRT, *EXPLAINED):
            return
        tail = self.process.log.read_text(errors="replace")[-3000:]
        if status not in EXPLAINED or " ERROR " not in tail:
            self._wrong(f"{self.name} ended with {status}, and its log with: {tail}")


class Operators:
    """Both operators. They run inside the block."""

    def __init__(
        self,
        plane: ControlPlane,
        release: Release,
        folder: Path,
        *,
        on_write: Callable[[Write], None],
        wrong: list[str],
    ) -> None:
        self.plane, self._wrong = plane, wrong
        self.both = tuple(
            ChaosOperator(release, folder / name, name=name, on_write=on_write, wrong=wrong.append)
            for name in ("first", "second")
        )
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._tend, args=(one,)) for one in self.both]
        self._stack = ExitStack()

    def __enter__(self) -> Operators:
        for one in self.both:
            self._stack.enter_context(one.api)
            one.start()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        for one in self.both:
            try:
                one.process.stop()
            except subprocess.TimeoutExpired:
                self._wrong.append(f"{one.name} does not end on SIGTERM")
                one.process.kill()
        self._stack.close()

    def leaders(self) -> list[ChaosOperator]:
        """The operators that say that they are ready."""
        return [one for one in self.both if one.health("/readyz")[0] == 200]

    def _tend(self, one: ChaosOperator) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            one.tend()


def _faked_time(clock: Path) -> dict[str, str]:
    """Environment for libfaketime: a file sets the process's wall clock; its monotonic clock is the machine's."""
    (library,) = (program("faketime").path.parents[1] / "lib").glob("**/libfaketimeMT.so.1")
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }
