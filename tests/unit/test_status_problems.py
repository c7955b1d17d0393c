"""Which condition of a service is its problem, in `status.summary` and in the order that the page shows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from andante.api.v1alpha1 import Condition, LLMService, LLMServiceStatus
from andante.app.pods import sort_pods
from andante.app.status.build import build_status, unreadable_status
from andante.app.status.changes import Change, change
from andante.app.status.conditions import Observation
from andante.app.status.problems import ORDER, WISHED, problems, short
from andante.cli.next_commands import COMMANDS, next_command

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "conditions.md"
METADATA = {"name": "s", "namespace": "n", "uid": "u", "generation": 1}


def _worst(**conditions: str) -> str:
    """Each condition as `status/Reason`; the problems, the worst first."""
    made = []
    for kind, said in conditions.items():
        status, _, reason = said.partition("/")
        values = {"type": kind, "status": status, "reason": reason, "message": "m"}
        made.append(Condition.model_validate({**values, "lastTransitionTime": "2026-01-01T00:00:00Z"}))
    return " ".join(map(short, problems(made)))


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        ({"Ready": "True/Serving", "Degraded": "False/AsWanted", "SLOMet": "Unknown/NoTraffic"}, ""),
        ({"Ready": "Unknown/WaitingForOperator"}, "Ready:WaitingForOperator"),
        ({"Degraded": "True/CrashLoop", "Ready": "False/CrashLoop"}, "Ready:CrashLoop Degraded:CrashLoop"),
        ({"Ready": "False/ScaledToZero", "RolledOut": "False/RolloutWaiting"}, ""),
        ({"ScalingActive": "False/Manual", "Ready": "True/Serving"}, ""),
        ({"ScalingActive": "True/QoEDeficit"}, ""),
        ({"ScalingActive": "True/ReplicaHangs"}, "ScalingActive:ReplicaHangs"),
        ({"AbleToScale": "False/RateLimited"}, ""),
        ({"SLOMet": "False/BudgetSpent", "AbleToScale": "False/MaxReplicas"},
         "AbleToScale:MaxReplicas SLOMet:BudgetSpent"),
        ({"ObjectiveUnreachable": "True/LongPrompts", "EngineCompatible": "Unknown/NotReported"},
         "ObjectiveUnreachable:LongPrompts"),
        ({"MetricsAvailable": "Unknown/NoReplicas", "Progressing": "True/ReplicasChanging"}, ""),
        ({"OfALaterVersion": "False/Anything"}, ""),
    ],
)  # fmt: skip
def test_what_is_a_problem_and_what_is_worse(conditions: dict[str, str], said: str) -> None:
    assert _worst(**conditions) == said


def _status(status: dict[str, Any] | None = None) -> LLMServiceStatus:
    spec = {"model": {"id": "m"}, "engine": {"gpusPerReplica": 1}}
    service = LLMService.parse({"metadata": METADATA, "spec": spec, "status": status or {}})
    return build_status(
        Observation(service=service, pods=sort_pods(()), deployment=None, wanted_replicas=3), memory=None, now=0.0
    )


def test_the_summary_says_how_many_serve_and_what_is_wrong() -> None:
    assert _status().to_wire()["summary"] == {"ready": "0/3", "problem": "Ready:EngineStarting"}


@pytest.mark.parametrize(
    ("left", "text"),
    [
        (0.874, "87%"),
        (0.0, "0%"),
        (-0.004, "0%"),
        (-12.5, "-1250%"),
        (1, "100%"),
        (-1e300, "-100000000%"),
        (1e300, "100%"),
    ],
)
def test_a_budget_is_told_as_a_percentage(left: float, text: str) -> None:
    summary = _status({"qoe": {"errorBudgetRemaining": left}}).summary
    assert summary is not None
    assert summary.budget == text


def test_a_spec_that_cannot_be_read_is_the_problem_and_the_counts_stay() -> None:
    live = {"summary": {"ready": "2/2"}, "conditions": [
        {"type": "Ready", "status": "True", "reason": "Serving", "message": "2 of 2",
         "lastTransitionTime": "2026-01-01T00:00:00Z"},
    ]}  # fmt: skip
    status = unreadable_status({"metadata": METADATA, "status": live}, "spec.x: unknown", now=0.0)
    assert status.to_wire()["summary"] == {"ready": "2/2", "problem": "SpecValid:SpecUnreadable"}


@pytest.mark.parametrize(
    ("summary", "much"),
    [
        ({"ready": "1/3", "budget": "86%"}, Change.FIGURES),
        ({"ready": "2/3", "budget": "87%"}, Change.NEWS),
        ({"ready": "1/3", "budget": "87%", "problem": "Degraded:CrashLoop"}, Change.NEWS),
        ({"ready": "1/3", "budget": "87%"}, Change.NONE),
    ],
)
def test_a_budget_is_a_figure_and_a_problem_is_news(summary: dict[str, str], much: Change) -> None:
    assert change({"summary": {"ready": "1/3", "budget": "87%"}}, {"summary": summary}) is much


def _rows() -> list[tuple[list[str], str]]:
    """The problems of each row of the page, and the row's command."""
    section = PAGE.read_text().split("## Which condition is the worst")[1].split("\n## ")[0]
    cells = [[c.strip() for c in line.split("|")] for line in section.splitlines() if line.startswith("| `")]
    return [(re.findall(r"`(\w+:\w+)`", row[1]), row[3].strip("`")) for row in cells]


def test_the_page_has_the_order_of_the_code() -> None:
    named = [word.split(":")[0] for words, _ in _rows() for word in words]
    assert list(dict.fromkeys(named)) == [aspect.type for aspect in ORDER]
    drawing = PAGE.read_text().split("## Which condition is the worst")[1].split("```")[1]
    drawn = re.findall("|".join(aspect.type for aspect in ORDER), drawing)
    assert drawn == [aspect.type for aspect in ORDER]


def test_the_page_has_a_row_for_each_problem_of_a_deployment() -> None:
    named = {word for words, _ in _rows() for word in words}
    reasons = ("QuotaExceeded", "PodSecurityViolation", "PodsRefused", "ProgressDeadlineExceeded")
    assert {f"{kind}:{reason}" for kind in ("Degraded", "AbleToScale") for reason in reasons} <= named


def test_the_page_has_the_commands_of_the_code() -> None:
    told = {word.split(":")[1]: command for words, command in _rows() for word in words if command}
    assert {reason: COMMANDS[reason] for reason in told} == told
    assert set(COMMANDS) == set(told)


def test_no_wish_has_a_command() -> None:
    assert not WISHED & set(COMMANDS)


def test_a_command_names_the_pod_where_it_is_known() -> None:
    of_one = next_command("CrashLoop", namespace="team", name="chat", pod="chat-1")
    assert of_one == "kubectl logs chat-1 --namespace team --previous --tail 100"
    of_all = next_command("CrashLoop", namespace="team", name="chat")
    assert of_all == "kubectl logs --selector andante.dev/llmservice=chat --namespace team --previous --tail 100"
    assert (
        next_command("OfALaterVersion", namespace="team", name="chat") == "kubectl describe lls chat --namespace team"
    )
