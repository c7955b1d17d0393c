"""docs/reference/http.md names every refusal that the engine's server gives, in its words, and no other."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from andante.engine_config import QoESettings
from andante_vllm.expectations import NOTHING_SAID, BadExpectationError, QoEClasses, from_body, from_headers

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "http.md").read_text(encoding="utf-8")


def _class_of_header(name: str) -> Any:
    return QoEClasses(QoESettings(unknown_class="Refuse")).resolve(
        from_headers([(b"x-andante-class", name.encode())]), prompt_tokens=0, field="X-Andante-Class"
    )


def _header(name: str, *values: str) -> Callable[[], Any]:
    return lambda: from_headers([(name.encode(), value.encode()) for value in values])


def _body(key: str, value: object) -> Callable[[], Any]:
    return lambda: from_body({key: value})


REFUSED: tuple[Callable[[], Any], ...] = (
    _header("x-andante-deadline", "3"),
    _header("x-andante-pace", "3", "4"),
    lambda: _class_of_header("nobody"),
    _header("x-andante-class", ""),
    _header("x-andante-pace", "fast"),
    _header("x-andante-pace", "1" * 65),
    _header("x-andante-expected-ttft", "86401"),
    _header("x-andante-pace", "0"),
    _body("andante_deadline", 3),
    _body("andante_class", 3),
    _body("andante_pace", "fast"),
    _body("andante_pace", 10**400),
)


def _patterns() -> list[re.Pattern[str]]:
    rows = re.findall(r"^\| 400 \| `([^`]+)` \| ([^|]+) \|", PAGE, re.MULTILINE)
    return [re.compile(".*".join(map(re.escape, f"{field}: {text}".split("...")))) for field, text in rows]


def _message(refused: Callable[[], Any]) -> str:
    with pytest.raises(BadExpectationError) as error:
        refused()
    return str(error.value)


def test_every_refusal_is_on_the_page_and_the_page_has_no_other() -> None:
    messages = [_message(refused) for refused in REFUSED]
    assert [text for text in messages if not any(pattern.match(text) for pattern in _patterns())] == []
    assert [p.pattern for p in _patterns() if not any(p.match(text) for text in messages)] == []


def test_what_a_client_may_say_is_what_the_page_says() -> None:
    rows = re.findall(r"^\| `(X-Andante-[\w-]+)` \| `(andante_\w+)` \|", PAGE, re.MULTILINE)
    values = {"X-Andante-Class": "reading", "X-Andante-Expected-TTFT": "2", "X-Andante-Pace": "2"}
    assert [header for header, _ in rows] == list(values)
    for header, key in rows:
        said = from_headers([(header.lower().encode(), values[header].encode())])
        assert said != NOTHING_SAID
        assert from_body({key: "reading" if header == "X-Andante-Class" else 2}) == said
