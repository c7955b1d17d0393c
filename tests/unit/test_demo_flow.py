"""The order of the demo: our own result stands whatever befalls the rival."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from hack.demo import __main__ as cli
from hack.demo.rival_cluster import RivalError
from hack.install import Installation

from andante.domain.trace import TraceRequest
from unit.demo_sides import LATE, SURGE, result, side

ROOT = Path(__file__).parents[2]


class _Watcher:
    def __init__(self, **_: object) -> None: ...

    def read(self) -> dict[str, Any]:
        return {"status": {"replicas": 1, "readyReplicas": 1}}


class _Rival:
    """A rival that plays, or fails at one of its steps."""

    fails: Exception | None = None
    leftovers: Exception | None = None
    taken_away = False
    played = False

    def __init__(self, *_: object, **__: object) -> None: ...

    @contextlib.contextmanager
    def playing(self) -> Iterator[SimpleNamespace]:
        type(self).played = True
        type(self).taken_away = False
        try:
            yield SimpleNamespace(service="chat-stock")
        finally:
            self.take_away()

    def take_away(self) -> None:
        if self.leftovers:
            raise self.leftovers
        type(self).taken_away = True

    def watcher(self) -> _Watcher:
        return _Watcher()

    def await_autoscaler(self) -> None:
        if self.fails:
            raise self.fails


@pytest.fixture
def show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> cli.Show:
    def play(name: str, *_: object, **__: object) -> Any:
        return side(name, [result(0), result(60, LATE if name == cli.RIVAL else (0.5, 0.6))])

    monkeypatch.setattr(cli, "play", play)
    monkeypatch.setattr(cli, "wait_ready", lambda *_, **__: None)
    monkeypatch.setattr(cli, "Watcher", _Watcher)
    monkeypatch.setattr(cli, "RivalCluster", _Rival)
    monkeypatch.setattr(cli.rival_cluster, "why_not", lambda: None)
    monkeypatch.setattr(_Rival, "fails", None)
    monkeypatch.setattr(_Rival, "leftovers", None)
    monkeypatch.setattr(_Rival, "taken_away", False)
    monkeypatch.setattr(_Rival, "played", False)
    options = cli.arguments([f"--report={tmp_path / 'report.html'}", f"--json={tmp_path / 'demo.json'}"])
    return cli.Show(
        options=options,
        console=cli.Console(quiet=True),
        service=yaml.safe_load((ROOT / "examples" / "llmservice.yaml").read_text()),
        requests=[TraceRequest(arrival_s=0.0, prompt_tokens=10, output_tokens=2)] * 61,
        surge=SURGE,
    )


def _run(show: cli.Show) -> tuple[int, Any]:
    installed = Installation(kubeconfig=Path("/kubeconfig"), namespace="demo", service="chat", url="http://chat")
    status = cli.run(show, installed, started=0.0)
    return status, json.loads(show.options.json_out.read_text())


def test_both_sides_are_in_the_result(show: cli.Show) -> None:
    status, told = _run(show)
    assert status == 0
    assert list(told["sides"]) == ["Andante", "stock vLLM + HPA"]
    assert (told["verdict"]["outcome"], told["no_rival"]) == ("good", None)
    assert told["paired"]["better"] == 1
    assert told["settings"]["rival"] == {"waiting": 2.0, "in_flight": 32.0}


@pytest.mark.parametrize("error", [RivalError("the metrics adapter does not answer"), KeyError("status")])
def test_our_own_result_stands_where_the_rival_fails(show: cli.Show, error: Exception) -> None:
    _Rival.fails = error
    status, told = _run(show)
    assert status == 0
    assert list(told["sides"]) == ["Andante"]
    assert str(error) in told["no_rival"]
    assert _Rival.taken_away
    assert "The rival did not play to the end" in show.options.report.read_text()


def test_the_short_form_has_no_rival(show: cli.Show) -> None:
    short = argparse.Namespace(**{**vars(show.options), "no_rival": True})
    status, told = _run(cli.replace(show, options=short))
    assert status == 0
    assert list(told["sides"]) == ["Andante"]
    assert not _Rival.played


@pytest.mark.parametrize("no_rival", [False, True])
def test_what_a_killed_run_left_is_removed_before_our_own_service_is_looked_at(
    show: cli.Show, monkeypatch: pytest.MonkeyPatch, no_rival: bool
) -> None:
    def wait_ready(*_: object, **__: object) -> None:
        assert _Rival.taken_away or _Rival.played

    monkeypatch.setattr(cli, "wait_ready", wait_ready)
    options = argparse.Namespace(**{**vars(show.options), "no_rival": no_rival})
    assert _run(cli.replace(show, options=options))[0] == 0


def test_a_cluster_that_refuses_the_rivals_objects_is_played_on_alone(show: cli.Show) -> None:
    _Rival.leftovers = RuntimeError("apiservices is forbidden")
    status, told = _run(show)
    assert status == 0
    assert "apiservices is forbidden" in told["no_rival"]
    assert not _Rival.played


def test_where_an_adapter_is_there_already_the_demo_says_so_and_plays_alone(
    show: cli.Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli.rival_cluster, "why_not", lambda: "No rival plays: there is another adapter.")
    status, told = _run(show)
    assert (status, told["no_rival"]) == (0, "No rival plays: there is another adapter.")
    assert not _Rival.played


def test_the_exit_status_is_our_own(show: cli.Show, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "verdict", lambda **_: ["3 streams were cut."])
    status, told = _run(show)
    assert (status, told["complaints"]) == (1, ["3 streams were cut."])
