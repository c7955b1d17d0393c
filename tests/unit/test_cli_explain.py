"""`andante explain`: a service in plain words, from an API server, and what it says when it cannot read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from unit.api_server import KIND_ROOT, LEASES, ago, api_server, condition, lease, service
from unit.run_cli import run_cli

WELL = [condition("Ready", "True", "Serving"), condition("Degraded", "False", "AsWanted")]
PODS = "/api/v1/namespaces/team/pods"
EVENTS = "/api/v1/namespaces/team/events"
FIGURES = {
    "state": "Observed", "mean": 0.912, "goodFraction": 0.88, "deficit": 0.064, "loadDeficit": 0.05, "idleDeficit": 0.0,
    "smoothGoodput": 512.4, "worstClass": "reading", "errorBudgetRemaining": 0.43,
}  # fmt: skip


class Explained:
    """What the command says of a cluster."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._tmp_path, self._monkeypatch, self._capsys = tmp_path, monkeypatch, capsys

    def __call__(self, *services: dict[str, Any], arguments: tuple[str, ...] = ("chat",), **server: Any) -> str:
        with api_server(self._tmp_path, services=services, **server) as kubeconfig:
            self.status = run_cli(self._monkeypatch, "explain", *arguments, "--kubeconfig", kubeconfig)
        said = self._capsys.readouterr()
        return said.out if self.status == 0 else said.err


@pytest.fixture
def explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Explained:
    return Explained(tmp_path, monkeypatch, capsys)


def _status(**parts: Any) -> dict[str, Any]:
    return {"conditions": WELL, "readyReplicas": 1, "startingReplicas": 2, "drainingReplicas": 0, **parts}


def test_the_first_line_has_the_worst_problem(explained: Explained) -> None:
    bad = [condition("Degraded", "True", "Unschedulable"), condition("SLOMet", "False", "BudgetSpent")]
    said = explained(service(status=_status(summary={"ready": "1/3"}, conditions=[*WELL[:1], *bad])))
    assert said.splitlines()[0] == "team/chat: 1/3 replicas ready; Degraded:Unschedulable, and 1 more"


def test_what_is_asked_and_served(explained: Explained) -> None:
    said = explained(service(status=_status()))
    assert "99% of the answers with QoE 0.95 or more, within 28d" in said
    assert "1 to 4 replicas, by the scaler" in said
    assert "1 ready, 2 starting, 0 stopping" in said


def test_who_sets_the_number_is_said(explained: Explained) -> None:
    by_hand = service(status=_status(), replicas=7, scaling={"mode": "Manual"})
    assert "7 replicas, as scaling.mode is Manual" in explained(by_hand)


def test_a_field_without_effect_is_told_beside_what_is_asked(explained: Explained) -> None:
    idle = condition("SpecValid", "True", "FieldsWithoutEffect", "spec.replicas is 7 and has no effect")
    said = explained(service(status=_status(conditions=[*WELL, idle]), replicas=7))
    assert "spec.replicas is 7 and has no effect" in said.split("  figures")[0]
    assert "no problem is known" in said.splitlines()[0]


@pytest.mark.parametrize(
    ("qoe", "said"),
    [
        (None, "none: no operator has measured this service yet"),
        ({"state": "NoTraffic"}, "no traffic: the engines are measured"),
        ({"state": "Missing"}, "missing: nothing could be measured: Prometheus is down"),
        ({"state": "Stale", "observedAt": ago(900)}, "stale: the newest sample, taken 15 min ago, is too old"),
        ({**FIGURES, "observedAt": ago(40)}, "measured 40 s ago: mean QoE 0.912 (worst class: reading), 88.0%"),
        ({"state": "Observed", "mean": 0.0, "observedAt": ago(40)}, "mean QoE 0.000, no answer ended"),
        ({"state": "Observed", "observedAt": ago(40)}, "mean QoE not known, no answer ended"),
    ],
)
def test_missing_stale_no_traffic_and_zero_are_told_apart(
    explained: Explained, qoe: dict[str, Any] | None, said: str
) -> None:
    metrics = condition("MetricsAvailable", "Unknown", "Missing", "Prometheus is down")
    status = _status(conditions=[*WELL, metrics], **({"qoe": qoe} if qoe else {}))
    (figures,) = (line for line in explained(service(status=status)).splitlines() if line.startswith("  figures"))
    assert said in figures


def test_each_problem_has_its_age_its_words_and_the_next_command(explained: Explained) -> None:
    pod = {
        "metadata": {"name": "chat-7d4-x1", "creationTimestamp": ago(800), "labels": {"pod-template-hash": "7d4"},
                     "ownerReferences": [{"kind": "ReplicaSet", "name": "chat-7d4", "controller": True}]},
        "spec": {}, "status": {"phase": "Pending"},
    }  # fmt: skip
    bad = condition("Degraded", "True", "Unschedulable", "no node can take pod chat-7d4-x1")
    said = explained(service(status=_status(conditions=[WELL[0], bad])), others={PODS: [pod]}).splitlines()
    at = said.index("  Degraded:Unschedulable, for 12 min")
    assert said[at + 1 : at + 3] == [
        "    no node can take pod chat-7d4-x1",
        "    next: kubectl describe pod chat-7d4-x1 --namespace team",
    ]
    (row,) = (line for line in said if line.startswith("  chat-7d4-x1"))
    assert row.split() == ["chat-7d4-x1", "starting", "13", "min", "0", "none", "yet"]


def _pod(name: str, *, ready: bool = False) -> dict[str, Any]:
    owner = {"kind": "ReplicaSet", "name": "chat-7d4", "controller": True}
    conditions = [{"type": "Ready", "status": "True"}] if ready else []
    return {
        "metadata": {"name": name, "creationTimestamp": ago(800), "labels": {"pod-template-hash": "7d4"},
                     "ownerReferences": [owner]},
        "spec": {}, "status": {"phase": "Running" if ready else "Pending", "conditions": conditions},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("bad", "target"),
    [
        (condition("SLOMet", "False", "SlowEngine", "pod chat-7d4-x1 is slow"), "chat-7d4-x1"),
        (condition("SLOMet", "False", "SlowEngine", "the engines are slow"), "--selector andante.dev/llmservice=chat"),
        (condition("Ready", "False", "EngineStarting", "none is ready"), "chat-7d4-x10"),
        (condition("AbleToScale", "False", "ReplicasDoNotStart", "2 wait"), "chat-7d4-x10"),
    ],
    ids=lambda value: value if isinstance(value, str) else value["reason"],
)
def test_the_next_command_is_about_the_pod_that_is_named(
    explained: Explained, bad: dict[str, Any], target: str
) -> None:
    pods = [_pod("chat-7d4-x10"), _pod("chat-7d4-x1", ready=True)]
    text = explained(service(status=_status(conditions=[bad])), arguments=("chat", "--json"), others={PODS: pods})
    (problem,) = json.loads(text)["problems"]
    assert f" {target} --namespace team" in problem["next"]


DECISION = {
    "at": ago(720), "from": 1, "to": 3, "reason": "QoEDeficit", "message": "m",
    "inputs": {"readyReplicas": 1, "startingReplicas": 0, "measuredReplicas": 1, "loadDeficit": 0.064,
               "openRequests": 40},
    "steps": [
        {"name": "law", "replicas": 4, "reason": "QoEDeficit", "message": "QoE is 0.064 too low", "clamped": False},
        {"name": "bounds", "replicas": 3, "reason": "MaxReplicas", "message": "4 would be needed", "clamped": True},
    ],
}  # fmt: skip


def test_a_decision_is_told_from_inputs_over_law_and_guards_to_its_result(explained: Explained) -> None:
    said = explained(service(status=_status(scaling={"desired": 3, "decisions": [DECISION]}))).splitlines()
    at = said.index("  12 min ago: 1 -> 3 replicas: QoEDeficit")
    assert said[at + 1].startswith(
        "    saw      1 ready (1 measured), 0 starting; QoE too low because of load by 0.064;"
    )
    assert said[at + 1].endswith("; open requests 40; arrivals per second not measured")
    assert said[at + 2 : at + 5] == [
        "    law      4: QoEDeficit: QoE is 0.064 too low",
        "    bounds   3 (held it): MaxReplicas: 4 would be needed",
        "    result   3",
    ]


def test_the_curve_tells_what_one_fewer_or_more_would_do(explained: Explained) -> None:
    curve = [{"replicas": n, "predictedQoE": q, "pricePerHour": 2.5 * n} for n, q in ((2, 0.9), (3, 0.97), (4, 0.99))]
    said = explained(service(status=_status(replicas=2, scaling={"desired": 3, "curve": curve}))).splitlines()
    at = next(at for at, line in enumerate(said) if "predicted mean QoE" in line)
    assert [line.split() for line in said[at + 1 : at + 4]] == [
        ["2", "0.90", "5", "now"], ["3", "0.97", "7.5", "wanted"], ["4", "0.99", "10"],
    ]  # fmt: skip


def test_in_budget_mode_the_curve_tells_the_value_too(explained: Explained) -> None:
    points = ((1, 0.5, 3.0), (2, 0.9, 4.25))
    curve = [{"replicas": n, "predictedQoE": q, "pricePerHour": n, "valuePerHour": v} for n, q, v in points]
    said = explained(service(status=_status(replicas=1, scaling={"desired": 2, "curve": curve}))).splitlines()
    at = next(at for at, line in enumerate(said) if "value per hour" in line)
    assert [line.split() for line in said[at + 1 : at + 3]] == [
        ["1", "0.50", "1", "3", "now"], ["2", "0.90", "2", "4.25", "wanted"],
    ]  # fmt: skip


def test_without_a_price_or_a_plan_it_says_what_is_missing(explained: Explained) -> None:
    said = explained(service(status=_status(scaling={"desired": 3, "curve": [{"replicas": 3}]})))
    assert "the price is not known: set spec.scaling.budget.pricePerReplicaHour" in said
    said = explained(service(status=_status(scaling={"desired": 3, "planMissing": "no engine tells its capacity"})))
    assert "not known: no engine tells its capacity" in said


def test_what_a_tenant_wrote_cannot_change_the_terminal(explained: Explained) -> None:
    hostile = "\x1b[2Jgone\u202e\n" + "x" * 5000
    event = {"type": "Warning", "reason": "A\x07", "message": hostile, "lastTimestamp": ago(60)}
    status = _status(
        conditions=[condition("Degraded", "True", "CrashLoop", hostile)], qoe={**FIGURES, "worstClass": hostile}
    )
    said = explained(service(status=status), others={EVENTS: [event]})
    assert all(sign.isprintable() or sign == "\n" for sign in said)
    assert "\\x1b[2Jgone\\u202e" in said
    assert max(map(len, said.splitlines())) < 1500


def test_events_are_counted_and_those_of_a_service_of_this_name_before_are_left_out(explained: Explained) -> None:
    made = {"type": "Warning", "reason": "CrashLoop", "message": "again", "count": 3, "lastTimestamp": ago(240)}
    mine = {**made, "involvedObject": {"uid": "uid-chat"}}
    before = {**made, "reason": "Before", "involvedObject": {"uid": "other"}}
    said = explained(service(status=_status()), others={EVENTS: [before, mine]})
    assert "4 min ago: Warning CrashLoop (3 times): again" in said
    assert "Before" not in said


def test_what_may_not_be_read_is_named_and_the_rest_is_shown(explained: Explained) -> None:
    said = explained(service(status=_status()), refused=(PODS, EVENTS, LEASES))
    assert explained.status == 0
    assert "not known: you have no right to list pods in namespace team" in said
    assert "not known: you have no right to list events in namespace team" in said
    assert "operator   not known whether one runs: you have no right to list leases in all namespaces" in said


@pytest.mark.parametrize(
    ("leases", "said"),
    [
        ([], "operator: none runs: the cluster has no Lease of one. All that follows is as it was then"),
        ([lease(3600)], "operator: does not run: its Lease in namespace ops was renewed 60 min ago"),
        ([lease(3)], "operator   runs: its Lease in namespace ops was renewed 3 s ago"),
        # The holder's clock may be wrong; the API server's is not.
        ([lease(3, written=3600)], "operator: does not run: its Lease in namespace ops was renewed 60 min ago"),
        ([lease(-3600, written=3600)], "operator: does not run: its Lease in namespace ops was renewed 60 min ago"),
        ([lease(3600, written=3)], "operator   runs: its Lease in namespace ops was renewed 3 s ago"),
        (
            [lease(-3600)],
            "operator   not known whether one runs: its Lease in namespace ops was renewed at a time that",
        ),
        # Whoever makes a Lease in a namespace of theirs must not hide an operator that is gone.
        (
            [lease(3600, holder="andante-operator-1"), lease(3, "team", holder="me")],
            (
                "operator: not known whether one runs: 2 Leases have the operator's name, and some are not renewed:"
                " that in namespace ops was renewed 60 min ago by andante-operator-1; that in namespace team was"
                " renewed 3 s ago by me. What follows may be old"
            ),
        ),
        (
            [lease(3600, owned=True), lease(3, "team", owned=True)],
            "operator: not known whether one runs: 2 Leases have the operator's name",
        ),
        (
            [lease(3600, owned=True), lease(3, "team")],
            (
                "operator: does not run: 2 Leases have its name; that in namespace ops is the operator's, by its owner:"
                " that in namespace ops was renewed 60 min ago; that in namespace team was renewed 3 s ago"
            ),
        ),
        (
            [lease(3600, "team"), lease(3, owned=True)],
            "operator   runs: 2 Leases have its name; that in namespace ops is the operator's, by its owner",
        ),
        (
            [lease(5, "team"), lease(3)],
            "operator   runs: 2 Leases have its name: that in namespace team was renewed 5 s",
        ),
    ],
)
def test_an_operator_that_is_gone_is_told_before_all_else(
    explained: Explained, leases: list[dict[str, Any]], said: str
) -> None:
    text = explained(service(status=_status()), others={LEASES: leases})
    assert said in text
    assert text.splitlines()[1].startswith("  operator: ") == said.startswith("operator:")


def test_a_status_of_before_says_whether_it_is_old_or_unchanged(explained: Explained) -> None:
    chat = service(status=_status())
    chat["metadata"]["managedFields"] = [{"manager": "andante", "subresource": "status", "time": ago(3600)}]
    assert "the status was written 60 min ago, and has not changed since" in explained(chat)
    assert "it has not changed since, or no operator runs" in explained(chat, refused=(LEASES,))


def test_before_an_operator_acts_the_default_status_says_so(explained: Explained) -> None:
    waiting = {"conditions": [condition("Ready", "Unknown", "WaitingForOperator")]}
    said = explained(service(status=waiting), others={LEASES: []})
    assert said.startswith("team/chat: ? replicas ready; Ready:WaitingForOperator")
    assert "next: kubectl get pods --all-namespaces --selector app.kubernetes.io/name=andante-operator" in said


def test_what_another_version_wrote_is_shown_as_far_as_it_can_be_read(explained: Explained) -> None:
    said = explained(service(status={**_status(), "ofALaterVersion": {"x": 1}}, alsoLater=1))
    assert "1 ready" in said
    said = explained(service(status={"readyReplicas": "many"}, engine={"scheduler": {"policy": "new"}}))
    assert explained.status == 0
    assert "the status cannot be read by this version of the command" in said
    assert "the spec cannot be read by this version of the command" in said


def test_json_has_the_problems_with_their_commands_and_no_memory(explained: Explained) -> None:
    scaling = {"desired": 3, "memory": {"version": 1, "state": {}}, "decisions": [DECISION]}
    bad = condition("AbleToScale", "False", "MaxReplicas")
    text = explained(
        service(status=_status(scaling=scaling, conditions=[*WELL, bad])), arguments=("chat", "--json"), refused=(PODS,)
    )
    found = json.loads(text)
    assert [(p["type"], p["reason"]) for p in found["problems"]] == [("AbleToScale", "MaxReplicas")]
    assert found["problems"][0]["next"].startswith("andante runbook AndanteAtMaximumWithDeficit --namespace team")
    assert "memory" not in found["scaling"]
    assert found["replicas"] == {"ready": 1, "starting": 2, "draining": 0}
    assert found["notRead"] == ["you have no right to list pods in namespace team"]


def test_json_of_a_status_that_cannot_be_read_says_so(explained: Explained) -> None:
    found = json.loads(explained(service(status={"readyReplicas": "many"}), arguments=("chat", "--json")))
    assert found["problems"] is None
    assert "readyReplicas" in found["statusProblem"]
    assert found["specProblem"] is None
    odd = service(status=_status(), engine={"scheduler": {"policy": "new"}})
    found = json.loads(explained(odd, arguments=("chat", "--json")))
    assert (found["problems"], found["statusProblem"]) == ([], None)
    assert "policy" in found["specProblem"]


@pytest.mark.parametrize(
    ("arguments", "option"),
    [(("",), "NAME"), (("lls/chat",), "NAME"), (("..",), "NAME"), (("chat", "-n", "a/b"), "--namespace"),
     (("chat", "-n", ""), "--namespace")],
)  # fmt: skip
def test_what_is_no_name_is_refused(explained: Explained, arguments: tuple[str, ...], option: str) -> None:
    said = explained(service(status=_status()), arguments=arguments)
    assert explained.status == 2
    assert f"{option}: '" in said
    assert "is no name of an object" in said


@pytest.mark.parametrize("current", [None, "", "gone"])
def test_a_context_is_enough_where_the_current_one_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, current: str | None
) -> None:
    with api_server(tmp_path, services=[service(status=_status())]) as kubeconfig:
        content = yaml.safe_load(kubeconfig.read_text())
        del content["current-context"]
        if current is not None:
            content["current-context"] = current
        kubeconfig.write_text(yaml.safe_dump(content))
        assert run_cli(monkeypatch, "explain", "chat", "--kubeconfig", kubeconfig, "--context", "here") == 0
        assert capsys.readouterr().out.startswith("team/chat: ")
        assert run_cli(monkeypatch, "explain", "chat", "--kubeconfig", kubeconfig) == 2
        assert f"no cluster to ask in {kubeconfig}: " in capsys.readouterr().err


BAD_BASE64 = """
apiVersion: v1
kind: Config
current-context: here
clusters: [{name: here, cluster: {server: "https://127.0.0.1:1", certificate-authority-data: "x"}}]
users: [{name: here, user: {token: t}}]
contexts: [{name: here, context: {cluster: here, user: here}}]
"""


@pytest.mark.parametrize(
    "content",
    ["a: [", "only words", "- a\n- list", "7", "clusters: 7", BAD_BASE64],
    ids=["no YAML", "text", "list", "number", "no list", "base64"],
)
def test_a_file_that_is_no_kubeconfig_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str
) -> None:
    (tmp_path / "config").write_text(content)
    assert run_cli(monkeypatch, "explain", "chat", "--kubeconfig", tmp_path / "config") == 2
    said = capsys.readouterr().err
    assert f"{tmp_path / 'config'} is no valid kubeconfig: " in said
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    assert run_cli(monkeypatch, "status") == 2
    assert f"{tmp_path / 'config'} is no valid kubeconfig: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "server", "said"),
    [
        (("other",), {}, "there is no LLMService other in namespace team. What to do: choose one that is there: chat"),
        (("chat", "-n", "elsewhere"), {}, "there is no LLMService chat in namespace elsewhere. What to do: -n team"),
        (("x", "-n", "elsewhere"), {}, "`andante status -A` lists all"),
        (
            ("chat",),
            {"refused": (f"{KIND_ROOT}/namespaces/team/llmservices/chat",)},
            "you have no right to get llmservices.andante.dev in namespace team. What to do: ask for the ClusterRole",
        ),
        (
            ("chat",),
            {"has_kind": False},
            "does not know llmservices.andante.dev. What to do: see whether it is the right",
        ),
        (("chat",), {"status": 401}, "the cluster does not accept your login"),
        (("chat",), {"status": 503}, "LLMServices could not be read: no"),
        (("chat", "--context", "there"), {}, "What to do: give --kubeconfig or --context"),
    ],
)
def test_a_read_that_fails_says_why_and_what_to_do(
    explained: Explained, arguments: tuple[str, ...], server: dict[str, Any], said: str
) -> None:
    text = explained(service(status=_status()), arguments=arguments, **server)
    assert explained.status == 2
    assert said in text


def test_an_api_server_that_does_not_answer_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with api_server(tmp_path) as kubeconfig:
        pass
    assert run_cli(monkeypatch, "explain", "chat", "--kubeconfig", kubeconfig) == 2
    assert "the API server http://127.0.0.1:" in capsys.readouterr().err
