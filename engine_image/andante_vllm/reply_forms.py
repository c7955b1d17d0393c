"""Separates the visible part of a reply from hidden reasoning, by the path, for streams and for whole replies.

Pure: bytes in, parts out. The bytes are vLLM's, with text of a client: an unknown form has no parts.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final


class Part(enum.Enum):
    """The kind of content in a stream's chunk."""

    CONTENT = enum.auto()
    CALL = enum.auto()
    """A tool call. Parsers hold a call back until its name is known, so all held tokens belong to the call."""
    REASONING = enum.auto()
    END = enum.auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One choice of a whole reply."""

    choice: int
    content: str
    reasoning: str
    calls: bool
    """Whether the answer calls a tool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyForm:
    """How to read the replies of a path."""

    chunk: Callable[[bytes], Iterable[tuple[int, Part]]]
    """The parts of one server-sent event, each with the number of its choice."""
    reply: Callable[[bytes], Iterable[Answer]]
    """The answers of a whole reply."""


def _chat_chunk(body: bytes) -> Iterable[tuple[int, Part]]:
    for entry in _objects(_event(body).get("choices")):
        delta = _mapping(entry.get("delta"))
        choice = _number(entry.get("index", 0))
        if delta.get("tool_calls"):
            yield choice, Part.CALL
        elif delta.get("content"):
            yield choice, Part.CONTENT
        elif delta.get("reasoning") or delta.get("reasoning_content"):
            yield choice, Part.REASONING
        elif entry.get("finish_reason"):
            yield choice, Part.END


def _chat_reply(body: bytes) -> Iterable[Answer]:
    for entry in _objects(_document(body).get("choices")):
        message = _mapping(entry.get("message"))
        yield Answer(
            choice=_number(entry.get("index", 0)),
            content=_text(message.get("content")),
            reasoning=_text(message.get("reasoning")) or _text(message.get("reasoning_content")),
            calls=bool(message.get("tool_calls")),
        )


_RESPONSES_PARTS: Final = {
    "response.output_text.delta": Part.CONTENT,
    "response.refusal.delta": Part.CONTENT,
    "response.reasoning_text.delta": Part.REASONING,
    "response.reasoning_summary_text.delta": Part.REASONING,
    "response.function_call_arguments.delta": Part.CALL,
    "response.mcp_call_arguments.delta": Part.CALL,
    "response.code_interpreter_call_code.delta": Part.CALL,
    "response.completed": Part.END,
    "response.incomplete": Part.END,
}


def _responses_chunk(body: bytes) -> Iterable[tuple[int, Part]]:
    part = _RESPONSES_PARTS.get(_text(_event(body).get("type")))
    if part is not None:
        yield 0, part


def _responses_reply(body: bytes) -> Iterable[Answer]:
    content, reasoning, calls = [], [], False
    for item in _objects(_document(body).get("output")):
        kind = item.get("type")
        if kind == "reasoning":
            reasoning += [_text(part.get("text")) for part in _objects(item.get("content"))]
        elif kind == "message":
            content += [_text(part.get("text")) for part in _objects(item.get("content"))]
        else:
            calls = True
    yield Answer(choice=0, content="".join(content), reasoning="".join(reasoning), calls=calls)


_MESSAGES_PARTS: Final = {
    "text_delta": Part.CONTENT,
    "thinking_delta": Part.REASONING,
    "input_json_delta": Part.CALL,
}


def _messages_chunk(body: bytes) -> Iterable[tuple[int, Part]]:
    event = _event(body)
    kind = event.get("type")
    if kind == "content_block_delta":
        part = _MESSAGES_PARTS.get(_text(_mapping(event.get("delta")).get("type")))
        if part is not None:
            yield 0, part
    elif kind == "content_block_start" and _mapping(event.get("content_block")).get("type") == "tool_use":
        yield 0, Part.CALL
    elif kind == "message_delta":
        yield 0, Part.END


def _messages_reply(body: bytes) -> Iterable[Answer]:
    blocks = list(_objects(_document(body).get("content")))
    yield Answer(
        choice=0,
        content="".join(_text(block.get("text")) for block in blocks if block.get("type") == "text"),
        reasoning="".join(_text(block.get("thinking")) for block in blocks if block.get("type") == "thinking"),
        calls=any(block.get("type") == "tool_use" for block in blocks),
    )


CHAT: Final = ReplyForm(chunk=_chat_chunk, reply=_chat_reply)
FORMS: Final[Mapping[str, ReplyForm]] = MappingProxyType(
    {
        "/v1/chat/completions": CHAT,
        "/v1/chat/completions/batch": CHAT,
        "/v1/responses": ReplyForm(chunk=_responses_chunk, reply=_responses_reply),
        "/v1/messages": ReplyForm(chunk=_messages_chunk, reply=_messages_reply),
    }
)
"""The forms by path, for the paths on which vLLM separates reasoning from visible content."""


def _event(body: bytes) -> dict[str, Any]:
    """The document of a server-sent event; empty for `[DONE]` and other text that is not JSON."""
    if body.startswith(b"event:"):  # the event's name; the document has it too
        _, _, body = body.partition(b"\n")
    return _document(body[5:].strip()) if body.startswith(b"data:") else {}


def _document(body: bytes) -> dict[str, Any]:
    if not body.startswith(b"{"):
        return {}
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _objects(value: object) -> Iterable[dict[str, Any]]:
    return (item for item in value if isinstance(item, dict)) if isinstance(value, list) else ()


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object) -> int:
    """The number of a choice; a number of no choice where the value is not a number."""
    return value if isinstance(value, int) else -1
