"""Processes that are measured, and what /proc and their own metrics say of them."""

from __future__ import annotations

import os
import subprocess
from collections import defaultdict
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

_TICKS = os.sysconf("SC_CLK_TCK")


class Process:
    """A process and what /proc says about it."""

    def __init__(self, command: list[str], *, log: Path, environment: dict[str, str]) -> None:
        with log.open("wb") as out:
            self._process = subprocess.Popen(command, stdout=out, stderr=out, env=environment, cwd=log.parent)
        self.pid, self.log = self._process.pid, log

    def check(self) -> str | None:
        """How it ended; None while it runs."""
        code = self._process.poll()
        return None if code is None else f"it ended with {code}: {self.log.read_text()[-2000:]}"

    def cpu_seconds(self) -> float:
        """Of all of its threads."""
        return _cpu_seconds(Path(f"/proc/{self.pid}/stat"))

    def main_thread_cpu_seconds(self) -> float:
        """Of the thread that the process began with: an operator's event loop."""
        return _cpu_seconds(Path(f"/proc/{self.pid}/task/{self.pid}/stat"))

    def memory_mib(self, field: str = "VmRSS") -> float:
        """VmRSS: now; VmHWM: at most so far."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:"))

    def stop(self) -> None:
        """SIGTERM, and SIGKILL where that is not heard within 30 s."""
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _cpu_seconds(stat: Path) -> float:
    fields = stat.read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


class Scraped:
    """One answer of an operator's /metrics."""

    def __init__(self, text: str) -> None:
        self._text = text

    def samples(self, name: str, **labels: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each sample of that name whose labels include `labels`."""
        lines = [line for line in self._text.splitlines() if line.startswith((f"{name}{{", f"{name} "))]
        return [
            (sample.labels, sample.value)
            for family in text_string_to_metric_families("\n".join(lines))
            for sample in family.samples
            if labels.items() <= sample.labels.items()
        ]

    def total(self, name: str, **labels: str) -> float:
        """Their sum."""
        return sum(value for _, value in self.samples(name, **labels))

    def calls(self) -> float:
        """Calls to the API server so far, those about the Lease aside."""
        name = "andante_operator_api_calls_total"
        return self.total(name) - self.total(name, kind="Lease")


class OwnMetrics:
    """An operator's own /metrics."""

    def __init__(self, port: int) -> None:
        self._port = port

    def samples(self, name: str, **labels: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each sample of that name whose labels include `labels`; none while nobody answers."""
        return self.now().samples(name, **labels)

    def total(self, name: str, **labels: str) -> float:
        """Their sum."""
        return self.now().total(name, **labels)

    def now(self) -> Scraped:
        """All of it in one scrape: each costs an operator of a thousand services a good part of a second."""
        try:
            text = httpx.get(f"http://127.0.0.1:{self._port}/metrics", timeout=30, trust_env=False).text
        except httpx.HTTPError:
            return Scraped("")
        return Scraped(text)

    def ticked(self) -> bool:
        """Whether the operator has ended a tick."""
        return self.total("andante_operator_ticks_total") > 0

    def calls(self) -> float:
        """Calls to the API server so far, those about the Lease aside."""
        return self.now().calls()

    def quantile(self, name: str, share: float) -> float:
        """Upper bound of the histogram bucket in which the quantile lies, seconds."""
        buckets: dict[float, float] = defaultdict(float)
        for labels, value in self.samples(f"{name}_bucket"):
            buckets[float(labels["le"])] += value
        total = max(buckets.values())
        return min(bound for bound, count in buckets.items() if count >= share * total)
