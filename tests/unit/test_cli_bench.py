"""`andante bench`, from arguments to report, against a real HTTP server."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andante.cli.workload_options import select
from andante.domain.trace import TraceRequest
from unit.run_cli import run_cli
from unit.sse_server import Handler, Reply, answer, serving

TRACE = [TraceRequest(arrival_s=10.0 + i, prompt_tokens=100 * (i + 1), output_tokens=50) for i in range(8)]


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "trace.csv"
    path.write_text("arrival_s,prompt_tokens,output_tokens\n" + "0,8,3\n" * 5)
    return path


async def _bench(monkeypatch: pytest.MonkeyPatch, handler: Handler, *arguments: object) -> int:
    async with serving(handler) as server:
        return await asyncio.to_thread(run_cli, monkeypatch, "bench", "--url", f"{server.url}/v1/", *arguments)


async def test_a_run_leaves_scores_settings_and_a_report(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trace: Path
) -> None:
    out, report = tmp_path / "out.json", tmp_path / "out.html"
    options = ("--trace", trace, "--json", out, "--report", report, "--expected-ttft", 900)
    assert await _bench(monkeypatch, answer, *options) == 0
    document = json.loads(out.read_text())
    assert document["scores"]["endings"]["completed"] == 5
    assert document["scores"]["qoe"]["mean"] == 1.0
    assert document["scores"]["output_tokens"] == 15
    assert document["settings"]["model"] == "served"
    assert document["settings"]["class"]["name"] == "reading"
    assert document["classes"]["reading"]["requests"] == 5
    html = report.read_text()
    assert "<script src=" not in html
    assert "Plotly.newPlot" in html


async def test_no_completed_request_is_a_no(
    monkeypatch: pytest.MonkeyPatch, trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def handler(_: dict[str, Any], reply: Reply) -> None:
        await reply.error(503, "full")

    assert await _bench(monkeypatch, handler, "--trace", trace) == 1
    assert "HTTP 503" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (("--class", "nobody"), "--class"), (("--json", "/no/such/folder/x"), "--json"),
        (("--report", "/no/such/folder/x"), "--report"), (("--pace", "nan"), "--expected-ttft/--pace"),
        (("--rate-scale", "0.01"), "--rate-scale"),
    ],
)  # fmt: skip
async def test_bad_options_are_refused_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch,
    trace: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    option: str,
) -> None:
    async with serving() as server:
        status = await asyncio.to_thread(
            run_cli, monkeypatch, "bench", "--url", server.url, "--trace", trace, *arguments
        )
        assert (status, server.received) == (2, [])
    assert f"andante: {option}" in capsys.readouterr().err


async def test_a_key_of_the_environment_goes_with_every_request_and_into_no_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ANDANTE_API_KEY", "key-of-a-test")
    out, report = tmp_path / "out.json", tmp_path / "out.html"
    async with serving() as server:
        arguments = ("--url", server.url, "--trace", trace, "--json", out, "--report", report)
        assert await asyncio.to_thread(run_cli, monkeypatch, "bench", *arguments) == 0
        assert {request.headers.get("authorization") for request in server.received} == {"Bearer key-of-a-test"}
    assert "key-of-a-test" not in out.read_text() + report.read_text() + "".join(capsys.readouterr())


def test_a_key_that_is_no_header_is_refused_without_being_shown(
    monkeypatch: pytest.MonkeyPatch, trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ANDANTE_API_KEY", "one\ntwo")
    assert run_cli(monkeypatch, "bench", "--url", "http://127.0.0.1:1", "--trace", trace) == 2
    said = capsys.readouterr().err
    assert "ANDANTE_API_KEY" in said
    assert "two" not in said


def test_an_endpoint_that_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(monkeypatch, "bench", "--url", "http://127.0.0.1:1", "--trace", trace) == 2
    assert "--url" in capsys.readouterr().err


def test_an_address_without_scheme_is_refused(
    monkeypatch: pytest.MonkeyPatch, trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(monkeypatch, "bench", "--url", "localhost:8000", "--trace", trace) == 2
    assert "http://" in capsys.readouterr().err


def test_a_class_of_the_trace_must_be_known(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("arrival_s,prompt_tokens,output_tokens,qoe_class\n0,8,3,nobody\n")
    assert run_cli(monkeypatch, "bench", "--url", "http://127.0.0.1:1", "--trace", path) == 2
    assert "nobody" in capsys.readouterr().err


def test_the_replay_counts_from_the_first_arrival_and_is_compressed() -> None:
    assert [r.arrival_s for r in select(TRACE, speed=2.0)] == [i / 2 for i in range(8)]


def test_the_replay_ends_after_its_duration_of_replayed_time() -> None:
    assert len(select(TRACE, speed=2.0, duration=2.0)) == 4


def test_caps_cut_lengths_and_never_stretch_them() -> None:
    kept = select(TRACE, max_prompt_tokens=250, max_output_tokens=60)
    assert [r.prompt_tokens for r in kept] == [100, 200, *[250] * 6]
    assert {r.output_tokens for r in kept} == {50}


def test_half_the_rate_is_every_other_request() -> None:
    assert [r.prompt_tokens for r in select(TRACE, rate_scale=0.5)] == [200, 400, 600, 800]


def test_copies_are_spread_until_the_next_arrival() -> None:
    assert [r.arrival_s for r in select(TRACE[:2], rate_scale=2.0)] == [0, 0.5, 1, 1]


@given(scale=st.floats(0.01, 5))
def test_a_scaled_trace_has_as_many_requests_as_the_scale_says_and_stays_sorted(scale: float) -> None:
    kept = select(TRACE, rate_scale=scale)
    assert len(kept) == pytest.approx(8 * scale, abs=1)
    assert [r.arrival_s for r in kept] == sorted(r.arrival_s for r in kept)


async def test_a_server_text_cannot_inject_into_the_report(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trace: Path
) -> None:
    async def handler(_: dict[str, Any], reply: Reply) -> None:
        await reply.error(500, "<script>alert(1)</script>")

    report = tmp_path / "out.html"
    assert await _bench(monkeypatch, handler, "--trace", trace, "--report", report) == 1
    assert "<script>alert" not in report.read_text()
