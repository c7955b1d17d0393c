"""The demo's report: one file that needs no network and says what happened."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from hack.demo.outcome import ClientPoint, Demo
from hack.demo.report import saved_replica_minutes, write_report
from hack.demo.watch import Sample
from hack.demo.workload import Surge


def _sample(at: float, *, replicas: int, desired: int, reason: str = "TargetMet") -> Sample:
    return Sample(
        at=at,
        replicas=replicas,
        ready=replicas,
        desired=desired,
        reason=reason,
        message=f"deficit < 1 & {reason}",
        mean_qoe=None,
        deficit=0.1,
        smooth_goodput=100.0,
    )


SAMPLES = [
    _sample(0, replicas=1, desired=1),
    _sample(60, replicas=1, desired=2, reason="QoEDeficit"),
    _sample(120, replicas=2, desired=2),
    _sample(180, replicas=2, desired=1, reason="OneFewerSuffices"),
    _sample(240, replicas=1, desired=1),
]
DEMO = Demo(
    headlines=[("mean QoE", "0.967", "1 is best")],
    table=[("TTFT p50 (s)", "0.56")],
    complaints=[],
    surge=Surge(base_rate=1, peak_rate=3, start=50, duration=100),
    target_qoe=0.95,
    points=[ClientPoint(at=5, arrivals_per_second=1.0, mean_qoe=None, open_requests=3)],
    samples=SAMPLES,
    changes=[SAMPLES[1], SAMPLES[3]],
)


def _written(demo: Demo, folder: Path) -> str:
    write_report(folder / "report.html", demo)
    return (folder / "report.html").read_text(encoding="utf-8")


def test_it_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    page = re.sub(r"<script.*?>.*?</script>", "", _written(DEMO, tmp_path), flags=re.DOTALL)
    assert not re.search(r"(src|href)=|@import|url\(", page)


def test_each_change_of_replicas_has_its_reason(tmp_path: Path) -> None:
    page = _written(DEMO, tmp_path)
    assert "1 → 2" in page
    assert "2 → 1" in page
    assert "deficit &lt; 1 &amp; QoEDeficit" in page


def test_it_says_first_whether_the_demo_showed_what_it_promises(tmp_path: Path) -> None:
    assert "rose from 1 to 2 with the surge and fell back to 1" in _written(DEMO, tmp_path)
    failed = dataclasses.replace(DEMO, complaints=["3 streams were cut."])
    assert '<p class="verdict bad">3 streams were cut.</p>' in _written(failed, tmp_path)


def test_replica_minutes_are_compared_with_a_fixed_number_of_replicas() -> None:
    assert saved_replica_minutes(SAMPLES) == (6.0, 8.0)
    assert saved_replica_minutes([]) == (0.0, 0.0)
