"""`andante rules`: the alerts of a file, without a cluster; and what it says of files and servers that do not do."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
import yaml

from andante.domain.slo.alerts import SERVICE_ALERTS
from andante.domain.slo.fleet_alerts import FLEET_ALERTS
from andante.domain.slo.replay import Episode, episodes
from small_server import serving
from unit.run_cli import run_cli

SERVICE = """\
apiVersion: andante.dev/v1alpha1
kind: LLMService
metadata: {name: chat, namespace: prod}
spec: {model: {id: org/model}}
"""


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "chat.yaml"
    path.write_text(SERVICE)
    return path


def _alerts(text: str) -> list[str]:
    groups = [group for document in yaml.safe_load_all(text) for group in document.get("spec", document)["groups"]]
    return [rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule]


def test_the_rules_of_a_file_are_a_rule_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], manifest: Path
) -> None:
    assert run_cli(monkeypatch, "rules", manifest) == 0
    written = capsys.readouterr().out
    assert _alerts(written) == list(SERVICE_ALERTS)
    assert 'namespace="prod",llmservice="chat"' in written


def test_as_objects_they_can_be_applied(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], manifest: Path
) -> None:
    assert run_cli(monkeypatch, "rules", manifest, "--format", "prometheusrule", "--generic") == 0
    objects = list(yaml.safe_load_all(capsys.readouterr().out))
    assert {o["kind"] for o in objects} == {"PrometheusRule"}
    names = [(o["metadata"]["namespace"], o["metadata"]["name"]) for o in objects]
    assert names == [("default", "andante-alerts"), ("prod", "chat")]


def test_the_generic_rules_need_no_file(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(monkeypatch, "rules", "--generic", "--runbook-url", "https://x.example/{version}/{alert}") == 0
    written = capsys.readouterr().out
    assert _alerts(written) == list(FLEET_ALERTS)
    assert "{version}" not in written
    assert "/AndanteStreamsStalled" in written


def test_several_services_from_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    items = [yaml.safe_load(SERVICE) for _ in range(2)]
    items[1]["metadata"] = {"name": "other"}
    text = yaml.safe_dump({"kind": "List", "items": items})
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    assert run_cli(monkeypatch, "rules", "-", "-n", "mine") == 0
    assert 'namespace="mine",llmservice="other"' in capsys.readouterr().out


def test_a_service_without_alerts_is_named_with_the_cause(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], manifest: Path
) -> None:
    manifest.write_text(SERVICE.replace("}}\n", "}, qoe: {objective: {window: 6h}}}\n"))
    assert run_cli(monkeypatch, "rules", manifest) == 0
    assert "prod/chat has no alerts: the objective's window is below a day" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: Deployment\n", "there is no LLMService in it"),
        ("a: [\n", "not YAML"),
        (SERVICE.replace("org/model", '""'), "spec.model.id"),
        (SERVICE.replace("spec: {model: {id: org/model}}", "spec: 5"), "spec: is missing"),
        (SERVICE.replace("metadata: {name: chat, namespace: prod}", "metadata: 5"), "metadata.name"),
        ("kind: List\nitems: [5, {kind: 5}]\n", "there is no LLMService in it"),
    ],
)
def test_a_file_that_does_not_do_is_refused_with_the_cause(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], manifest: Path, text: str, said: str
) -> None:
    manifest.write_text(text)
    assert run_cli(monkeypatch, "rules", manifest) == 2
    assert said in capsys.readouterr().err


def test_nothing_to_do_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(monkeypatch, "rules") == 2
    assert "--generic" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (400, json.dumps({"status": "error", "error": "too many samples"}).encode(), "too many samples"),
        (502, b"<html>bad gateway", "502"),
        (200, b"[]", "answers 200"),
        (200, json.dumps({"status": "success", "data": {"result": []}}).encode(), "label llmservice"),
    ],
)
def test_a_prometheus_that_does_not_do_is_named_with_what_it_said(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    manifest: Path,
    status: int,
    body: bytes,
    said: str,
) -> None:
    with serving(lambda _: (status, "application/json", body), answer_posts=True) as port:
        assert run_cli(monkeypatch, "rules", manifest, "--replay", f"http://127.0.0.1:{port}") == 2
    told = capsys.readouterr().err
    assert said in told
    assert "Traceback" not in told


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "nonsense", "http://"])
def test_a_prometheus_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], manifest: Path, url: str
) -> None:
    assert run_cli(monkeypatch, "rules", manifest, "--replay", url) == 2
    assert "does not answer" in capsys.readouterr().err


def test_an_alert_fires_once_it_has_held_for_its_time() -> None:
    held = [[0, 60, 120, 180, 600, 660]]
    assert episodes(held, step=60, wait=120, keep=0) == (Episode(start=120, end=180),)
    assert episodes(held, step=60, wait=0, keep=0) == (Episode(start=0, end=180), Episode(start=600, end=660))


def test_an_alert_that_is_kept_firing_fires_once() -> None:
    assert episodes([[0, 60, 600]], step=60, wait=0, keep=600) == (Episode(start=0, end=1200),)


def test_series_that_fire_at_a_time_are_one_episode() -> None:
    assert episodes([[0, 60, 120], [60, 120, 180]], step=60, wait=0, keep=0) == (Episode(start=0, end=180),)
    assert episodes([], step=60, wait=0, keep=0) == ()
