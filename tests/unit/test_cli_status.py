"""`andante status`: one line for each service, the worst first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from unit.api_server import LEASES, ago, api_server, condition, lease, service
from unit.run_cli import run_cli

WELL = condition("Ready", "True", "Serving")
SERVICES = [
    service("calm", status={"conditions": [WELL], "summary": {"ready": "1/1"}, "qoe": {"state": "NoTraffic"}}),
    service("fine", status={"conditions": [WELL], "summary": {"ready": "2/2"},
                            "qoe": {"state": "Observed", "observedAt": ago(40), "errorBudgetRemaining": 0.874}}),
    service("down", status={"conditions": [condition("Ready", "False", "CrashLoop")], "readyReplicas": 0}),
    service("held", "team-b", status={"conditions": [WELL, condition("AbleToScale", "False", "MaxReplicas")],
                                      "summary": {"ready": "4/4"},
                                      "qoe": {"state": "Stale", "observedAt": ago(900), "errorBudgetRemaining": -0.5}}),
    service("new", "team-b", status={"conditions": [condition("Ready", "Unknown", "WaitingForOperator")]}),
    service("odd", "team-b", status={"readyReplicas": "many"}),
]  # fmt: skip


def _run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *arguments: str, services: Any = SERVICES, **server: Any
) -> int:
    with api_server(tmp_path, services=services, **server) as kubeconfig:
        return run_cli(monkeypatch, "status", *arguments, "--kubeconfig", kubeconfig)


def test_the_worst_service_comes_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert _run(monkeypatch, tmp_path, "-A") == 0
    rows = [line.split("   ") for line in capsys.readouterr().out.splitlines()]
    assert [[cell.strip() for cell in row if cell.strip()] for row in rows] == [
        ["NAMESPACE", "NAME", "READY", "BUDGET", "PROBLEM", "AGE"],
        ["team-b", "odd", "?", "not known", "StatusUnreadable", "never measured"],
        ["team", "down", "0/?", "not known", "Ready:CrashLoop", "never measured"],
        ["team-b", "new", "?", "not known", "Ready:WaitingForOperator", "never measured"],
        ["team-b", "held", "4/4", "-50%", "AbleToScale:MaxReplicas", "stale 15 min"],
        ["team", "fine", "2/2", "87%", "40 s"],
        ["team", "calm", "1/1", "not known", "no traffic"],
    ]


def test_without_a_namespace_the_context_s_one_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert _run(monkeypatch, tmp_path) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["NAME", "down", "fine", "calm"]


def test_an_operator_that_is_gone_is_told_beside_the_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert _run(monkeypatch, tmp_path, others={LEASES: []}) == 0
    said = capsys.readouterr()
    assert "operator: none runs" in said.err
    assert said.out.startswith("NAME")


def test_a_tenant_s_lease_does_not_hide_an_operator_that_is_gone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert _run(monkeypatch, tmp_path, others={LEASES: [lease(3600), lease(3, "team")]}) == 0
    assert "operator: not known whether one runs: 2 Leases have the operator's name" in capsys.readouterr().err


def test_no_service_is_said_in_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert _run(monkeypatch, tmp_path, "-n", "empty") == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "no LLMService in namespace empty\n")


def test_json_says_what_is_not_known_with_null(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert _run(monkeypatch, tmp_path, "-n", "team", "--json") == 0
    services = json.loads(capsys.readouterr().out)["services"]
    assert [(s["name"], s["problem"], s["errorBudgetRemaining"]) for s in services] == [
        ("down", "Ready:CrashLoop", None), ("fine", None, 0.874), ("calm", None, None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "server", "said"),
    [
        (("-A", "-n", "team"), {}, "give --namespace or --all-namespaces, not both"),
        (("-A",), {"refused": ("/apis/andante.dev/v1alpha1/llmservices",)},
         "you have no right to list llmservices.andante.dev in all namespaces"),
        (("-A",), {"has_kind": False}, "does not know llmservices.andante.dev"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_ends_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: tuple[str, ...],
    server: dict[str, Any], said: str,
) -> None:  # fmt: skip
    assert _run(monkeypatch, tmp_path, *arguments, **server) == 2
    assert said in capsys.readouterr().err
