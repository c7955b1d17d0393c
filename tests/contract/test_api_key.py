"""What vLLM's API key guards, asked of every path of a real vLLM: docs/how-to/expose.md lists the others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hack.engine_process import EngineProcess

from contract.conftest import CONFIG, QOE

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "expose.md"
KEY = "key-of-a-test"
CHAT = {"model": "tiny", "messages": [{"role": "user", "content": " stone"}], "max_tokens": 2}
# What vLLM's own description of its paths leaves out.
UNLISTED = {"/metrics", "/docs", "/redoc", "/openapi.json"}


@pytest.fixture(scope="module")
def guarded() -> Iterator[httpx.Client]:
    """A client without a key of an engine that has one."""
    with (
        EngineProcess(CONFIG, qoe=QOE, environment={"VLLM_API_KEY": KEY}) as engine,
        httpx.Client(base_url=engine.url, timeout=60) as client,
    ):
        yield client


def _on_the_page() -> set[str]:
    table = PAGE.read_text(encoding="utf-8").split("<!-- paths without a key -->")[1]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return {path for cell in cells for path in re.findall(r"`([^`]+)`", cell)}


def test_the_page_names_every_path_that_answers_without_the_key(guarded: httpx.Client) -> None:
    paths = guarded.get("/openapi.json").json()["paths"]
    assert "/v1/chat/completions" in paths
    open_paths = set(UNLISTED)
    for path, operations in paths.items():
        for method in operations:
            reply = guarded.request(method, path.replace("{response_id}", "x"), json=None if method == "get" else {})
            if reply.status_code != 401:
                open_paths.add(path)
    assert {path for path in open_paths if guarded.get(path).status_code == 401} == set()
    assert _on_the_page() == open_paths


def test_the_model_answers_with_the_key_and_not_without(guarded: httpx.Client) -> None:
    path = "/v1/chat/completions"
    assert guarded.post(path, json=CHAT).status_code == 401
    assert guarded.post(path, json=CHAT, headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert guarded.post(path, json=CHAT, headers={"Authorization": f"Bearer {KEY}"}).status_code == 200


def test_a_path_beside_it_gives_the_model_away(guarded: httpx.Client) -> None:
    assert guarded.post("/invocations", json=CHAT).status_code == 200


def test_a_wrong_class_is_told_before_the_key_is_asked_for(guarded: httpx.Client) -> None:
    reply = guarded.post("/v1/chat/completions", json=CHAT, headers={"X-Andante-Class": "nobody"})
    assert reply.status_code == 400
    assert "reading" in reply.json()["error"]["message"]
