"""The operator's log as JSON: one object a line, and a decision with its steps."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from hack.docs.markdown import ROOT

PREPARED = """
import logging
from andante.app.fleet import ServiceState
from andante.app.scaling.judge import TickResult
from andante.app.scaling.measurement import nothing_measured
from andante.domain.scaling.decide import Decision, Step
from andante.domain.scaling.memory import Memory
from andante.runtime.log import set_up

def decide(replicas, *steps):
    law = Step(name="law", replicas=3, reason="QoEDeficit", message="readers wait", clamped=False)
    bound = Step(name="bounds", replicas=replicas, reason="MaxReplicas", message="2 at most", clamped=True)
    decision = Decision(replicas=replicas, wanted=replicas, steps=(law, bound, *steps))
    result = TickResult(measurement=nothing_measured("x"), decision=decision, memory=Memory())
    ServiceState(uid="u", namespace="team", name="chat").decide(result, desired=1, at=0.0)
"""


def _logged(statements: str) -> list[str]:
    command = [sys.executable, "-c", PREPARED + statements]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stderr.splitlines()


def test_a_decision_is_an_object_with_its_steps() -> None:
    (line,) = _logged("set_up('json')\ndecide(2)")
    entry: dict[str, Any] = json.loads(line)
    assert entry["message"] == "team/chat: 1 -> 2 replicas: QoEDeficit: readers wait"
    assert (entry["level"], entry["namespace"], entry["llmservice"]) == ("INFO", "team", "chat")
    assert entry["time"].endswith("+00:00")
    assert entry["decision"] == {
        "from": 1,
        "to": 2,
        "applied": True,
        "reason": "QoEDeficit",
        "steps": [
            {"name": "law", "replicas": 3, "reason": "QoEDeficit"},
            {"name": "bounds", "replicas": 2, "reason": "MaxReplicas"},
        ],
    }


def test_an_error_is_one_line_with_its_traceback() -> None:
    (line,) = _logged("set_up('json')\ntry: 1 / 0\nexcept ZeroDivisionError: logging.exception('a\\nb')")
    entry = json.loads(line)
    assert entry["message"] == "a\nb"
    assert "ZeroDivisionError" in entry["exception"]


def test_text_says_the_same_in_a_line_for_people() -> None:
    (line,) = _logged("set_up()\ndecide(2)")
    assert line.endswith("INFO andante.app.fleet: team/chat: 1 -> 2 replicas: QoEDeficit: readers wait")


def test_advice_is_told_as_advice() -> None:
    advice = "Step(name='mode', replicas=2, reason='Advisory', message='advice only', clamped=False)"
    (line,) = _logged(f"set_up('json')\ndecide(2, {advice})")
    entry = json.loads(line)
    assert entry["message"].startswith("team/chat: advice only, as scaling.mode is Advisory: 1 -> 2 replicas: ")
    assert entry["decision"]["applied"] is False
