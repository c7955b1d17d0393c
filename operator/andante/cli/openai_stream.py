"""Makes the body of a streamed completion for an OpenAI-compatible endpoint, and reads the reply.

It is cheap, as load generator and server often share a machine: bytes are cut at event boundaries, and only whole
events are decoded. Tokens are counted by their ids (vLLM's `return_token_ids`), never by text: a third of the chunks of
a byte-level tokenizer have no text.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass

from andante.domain.trace import TraceRequest

MAX_EVENT_BYTES = 16 * 2**20
"""If a server sends more without the end of an event, the generator stops reading."""
SHARED_PREFIX_TOKENS = 512
"""Number of common first tokens of the prompts in one prefix group."""
_FIRST_TOKEN_ID = 10  # the ids below are usually special tokens


class MalformedReplyError(Exception):
    """The server did not send a stream of completions; the message says what it sent."""


class EventParser:
    """Cuts a byte stream into the data of its server-sent events."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, block: bytes) -> list[bytes]:
        """The data of the events that `block` completes. Raises MalformedReplyError when an event has no end."""
        text = self._rest + block
        if b"\r" in text:
            text = text.replace(b"\r\n", b"\n")
        *events, self._rest = text.split(b"\n\n")
        if len(self._rest) > MAX_EVENT_BYTES:
            raise MalformedReplyError(f"an event of more than {MAX_EVENT_BYTES} bytes")
        return [data for data in map(_data, events) if data]


def _data(event: bytes) -> bytes:
    if event.startswith(b"data: ") and b"\n" not in event:
        return event[6:]
    lines = (line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:"))
    return b"\n".join(lines)


@dataclass(frozen=True, slots=True)
class Chunk:
    """The content of one event of a stream."""

    tokens: int
    """New tokens of all choices."""
    finish_reason: str | None
    """Why the answer ended; in its last chunk."""
    error: str | None
    """The server's error, where the event reports one."""


def read_chunk(data: bytes) -> Chunk:
    """The chunk in the data of one event. Raises MalformedReplyError for other data."""
    try:
        chunk = json.loads(data)
        if "error" in chunk:
            return Chunk(0, None, str(chunk["error"])[:300])
        tokens, finish_reason = 0, None
        for choice in chunk["choices"]:
            ids = choice.get("token_ids")
            if ids:
                tokens += len(ids)
            elif choice.get("text") and ids is None:
                raise MalformedReplyError("text without token_ids: the endpoint does not support return_token_ids")
            finish_reason = choice.get("finish_reason") or finish_reason
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MalformedReplyError(f"not a completion chunk: {data[:100]!r}") from error
    return Chunk(tokens, finish_reason, None)


def request_body(request: TraceRequest, *, index: int, model: str, vocabulary: int) -> bytes:
    """The JSON body that asks for exactly the trace's lengths; `vocabulary`: token ids below this are used."""
    body = {
        "model": model,
        "prompt": _prompt(request, index=index, vocabulary=vocabulary),
        "max_tokens": request.output_tokens,
        "ignore_eos": True,
        "temperature": 0,
        "stream": True,
        "return_token_ids": True,
    }
    return json.dumps(body).encode()


def _prompt(request: TraceRequest, *, index: int, vocabulary: int) -> list[int]:
    """Token ids: requests of a prefix group have the same first tokens, all others differ in them."""
    shared: list[int] = []
    if request.prefix_group:
        group = zlib.crc32(request.prefix_group.encode())
        shared = _tokens(group, min(SHARED_PREFIX_TOKENS, request.prompt_tokens), vocabulary)
    return shared + _tokens(index, request.prompt_tokens - len(shared), vocabulary)


def _tokens(seed: int, count: int, vocabulary: int) -> list[int]:
    span = vocabulary - _FIRST_TOKEN_ID
    head = [_FIRST_TOKEN_ID + seed // span**k % span for k in range(4)]
    return (head + [_FIRST_TOKEN_ID + (seed + 7 * i) % span for i in range(count)])[:count]
