"""What vLLM's API key guards, asked of every path of vLLM's own server: docs/how-to/expose.md lists the others.

The server is built as `vllm serve` builds it, without an engine: who is let in is decided before one is asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from starlette.testclient import TestClient
from vllm.entrypoints.launchers.app import build_app
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser

from andante_vllm.launch import METER_MIDDLEWARE
from andante_vllm.settings import ENGINE_CONFIG_VARIABLE
from contract.conftest import CONFIG, QOE

PAGE = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "expose.md"
KEY = "key-of-a-test"
CHAT_PATH = "/v1/chat/completions"


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[TestClient]:
    """A client that sends no key."""
    (tmp_path / "engine.yaml").write_text(yaml.safe_dump(CONFIG))
    (tmp_path / "qoe.yaml").write_text(yaml.safe_dump(QOE))
    monkeypatch.setenv(ENGINE_CONFIG_VARIABLE, str(tmp_path / "engine.yaml"))
    monkeypatch.setenv("VLLM_API_KEY", KEY)
    arguments = make_arg_parser(FlexibleArgumentParser()).parse_args(["--middleware", METER_MIDDLEWARE])
    return TestClient(build_app(arguments, ("generate",)), raise_server_exceptions=False)


def _on_the_page() -> set[str]:
    table = PAGE.read_text(encoding="utf-8").split("<!-- paths without a key -->")[1]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return {path for cell in cells for path in re.findall(r"`([^`]+)`", cell)}


def test_the_page_names_every_path_that_answers_without_the_key(client: TestClient) -> None:
    routes = {route.path: getattr(route, "methods", None) or {"GET"} for route in client.app.routes}
    assert CHAT_PATH in routes
    unguarded = {
        path
        for path, methods in routes.items()
        for method in methods
        if client.request(method, path.replace("{response_id}", "x"), json={}).status_code != 401
    }
    assert _on_the_page() == unguarded


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": KEY}])
def test_without_the_key_the_model_is_not_asked(client: TestClient, headers: dict[str, str]) -> None:
    assert client.post(CHAT_PATH, json={}, headers=headers).status_code == 401


def test_with_the_key_it_is(client: TestClient) -> None:
    assert client.post(CHAT_PATH, json={}, headers={"Authorization": f"Bearer {KEY}"}).status_code == 400


def test_a_wrong_header_is_told_before_the_key_is_asked_for(client: TestClient) -> None:
    reply = client.post(CHAT_PATH, json={}, headers={"X-Andante-Pace": "fast"})
    assert reply.status_code == 400
    assert "must be a number" in reply.json()["error"]["message"]


def test_pages_of_another_origin_may_not_call(client: TestClient) -> None:
    asked = {"Origin": "http://elsewhere.example", "Access-Control-Request-Method": "POST"}
    reply = client.options(CHAT_PATH, headers=asked)
    assert (reply.status_code, reply.headers.get("access-control-allow-origin")) == (400, None)
