"""Every alert has a runbook, and every runbook an alert; it says what a person needs at night, also offline."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from hack.docs import markdown
from hack.docs.markdown import ROOT
from hack.metric_families import metric_families
from hack.promql import selectors
from hack.runbooks import PACKAGED, PAGES, packaged

from andante.domain.slo.rules import ALERTS
from unit.run_cli import run_cli

SECTIONS = ("Meaning", "Impact", "Diagnosis", "Mitigation", "Safe to ignore when", "It is over when")
PLACEHOLDERS = {"NAMESPACE", "LLMSERVICE", "POD", "NODE", "OPERATOR_POD"}
SERIES = {series for family in metric_families() for series in family.series}
OTHERS = {"up", "vllm:generation_tokens_total", "vllm:prompt_tokens_total"}
"""Series of Prometheus and vLLM."""


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    assert sorted(page.stem for page in PAGES.glob("*.md")) == sorted(ALERTS)


def test_no_page_of_the_package_outlives_its_source() -> None:
    assert set(PACKAGED.glob("*.md")) == packaged().keys()


@pytest.mark.parametrize("alert", ALERTS)
def test_a_page_says_what_a_person_at_night_needs(alert: str) -> None:
    text = (PAGES / f"{alert}.md").read_text()
    title, first = text.split("\n\n")[:2]
    assert title == f"# {alert}"
    assert re.fullmatch(r"\*\*.*[Rr]eaders.*\*\*", first), "the first line says what readers feel"
    assert re.search(r"[Gg]et up", first), "and whether to get up"
    assert tuple(re.findall(r"^## (.*)$", text, re.MULTILINE)) == SECTIONS
    assert "Safe first action" in text.partition("## Mitigation")[2]


@pytest.mark.parametrize("alert", ALERTS)
def test_commands_have_no_placeholder_but_those_that_labels_fill_in(alert: str) -> None:
    for block in markdown.read(PAGES / f"{alert}.md").blocks:
        if block.is_shell:
            found = set(re.findall(r"(?<![\w:-])[A-Z]{3,}[A-Z_]*(?![\w:-])", re.sub(r"'[^']*'|#.*", "", block.text)))
            assert found <= PLACEHOLDERS, block.text


@pytest.mark.parametrize("alert", ALERTS)
def test_queries_read_what_exists(alert: str) -> None:
    for block in markdown.read(PAGES / f"{alert}.md").blocks:
        if block.language == "promql":
            found = [name for selector in selectors(block.text) for name in selector.name.split("|")]
            assert found
            assert set(found) <= SERIES | OTHERS, block.text


def test_the_command_lists_all_with_whether_to_get_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(monkeypatch, "runbook") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[::2] == sorted(ALERTS)
    assert all("et up" in line for line in lines[1::2])


def test_the_command_prints_a_page_with_names_filled_in(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = ("--namespace", "team", "--llmservice", "chat", "--pod", "chat-7d-x1")
    assert run_cli(monkeypatch, "runbook", "andantestreamsstalled", *labels) == 0
    text = capsys.readouterr().out
    assert text.startswith("# AndanteStreamsStalled\n\n**Readers")
    assert "kubectl delete pod chat-7d-x1 --namespace team --grace-period=30" in text
    assert not re.search(r"<!--|\]\(|NAMESPACE|LLMSERVICE|\bPOD\b", text)


def test_an_unknown_name_is_answered_with_the_nearest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(monkeypatch, "runbook", "AndanteStreamStall") == 2
    assert "AndanteStreamsStalled" in capsys.readouterr().err
    assert run_cli(monkeypatch, "runbook", "KubeletDown") == 2
    assert "andante runbook" in capsys.readouterr().err


def test_a_value_that_is_no_name_is_not_put_into_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(monkeypatch, "runbook", "AndanteStreamsStalled", "--pod", "x; rm -rf /") == 2
    assert "no name" in capsys.readouterr().err


def test_the_operators_image_prints_it_too() -> None:
    command = [sys.executable, "-S", "-m", "andante.runbooks"]  # -S: without any installed package
    done = subprocess.run(
        [*command, "AndanteOperatorDown"], cwd=ROOT / "operator", capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("# AndanteOperatorDown")
    assert (
        subprocess.run([*command, "Nothing"], cwd=ROOT / "operator", capture_output=True, check=False).returncode == 2
    )
