"""Draws hostile and broken requests: wrong at every level, from bytes to fields."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass
from typing import Any, Final

PATHS: Final = (
    "/v1/completions", "/v1/chat/completions", "/v1/responses", "/v1/messages", "/tokenize", "/detokenize",
    "/invocations", "/v1/embeddings", "/v1/models", "/health", "/metrics", "/version", "/v1/audio/transcriptions", "/",
    "/v1/completions/..", "/%00", "/v1/chat/completions?x=%ff",
)  # fmt: skip
METHODS: Final = ("POST", "POST", "POST", "POST", "POST", "GET", "PUT", "DELETE", "OPTIONS", "PATCH")
VALUES: Final[tuple[Any, ...]] = (
    None, True, False, 0, 1, -1, 2, 3.5, -0.0, 1e-300, 1e300, 2**31, 2**63, -(2**63), 10**400, "", "a", "\x00",
    "\ud83d", "x" * 3000, [], {}, [[]], [[[]]], [1, "a"], {"a": {"b": []}}, ["a"] * 50, [-1], [10**9], [0], {"": ""},
    "NaN",
)  # fmt: skip
FIELDS: Final = (
    "model", "prompt", "messages", "input", "max_tokens", "max_completion_tokens", "min_tokens", "temperature", "top_p",
    "top_k", "min_p", "n", "best_of", "stream", "stream_options", "stop", "stop_token_ids", "logprobs", "top_logprobs",
    "prompt_logprobs", "echo", "seed", "logit_bias", "allowed_token_ids", "bad_words", "response_format", "tools",
    "tool_choice", "structured_outputs", "vllm_xargs", "priority", "cache_salt", "repetition_penalty",
    "frequency_penalty", "presence_penalty", "ignore_eos", "return_token_ids", "truncate_prompt_tokens", "suffix",
    "user",    "add_generation_prompt", "chat_template", "chat_template_kwargs", "documents", "request_id", "tokens",
    "include_reasoning", "reasoning_effort", "length_penalty", "detokenize", "skip_special_tokens",
    "kv_transfer_params",
)  # fmt: skip
HEADERS: Final = (
    "X-Andante-Class", "X-Andante-Pace", "X-Andante-Expected-TTFT", "X-Andante-Other", "Content-Type", "Authorization",
    "Accept", "X-Request-Id", "X-Vllm-Priority", "Transfer-Encoding", "Content-Encoding", "Expect", "Upgrade", "Cookie",
    "X-Data-Parallel-Rank", "Traceparent",
)  # fmt: skip
HEADER_VALUES: Final = (
    "", "reading", "nobody", "1e-300", "1e300", "-1", "nan", "inf", "0", "5", "gzip", "chunked", "text/plain", "h2c",
    "application/json", "multipart/form-data; boundary=x", "100-continue", "x" * 5000, "\xff\xfe", "a\tb", "é", "[]",
    "1 2",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answer:
    """The reply. Status 0: there was none, as the server closed the connection."""

    status: int
    body: bytes

    @property
    def sentence(self) -> str:
        """The message of an error; empty where there is none."""
        try:
            document = json.loads(self.body)
        except ValueError:
            return ""
        if not isinstance(document, dict):
            return ""
        error = document.get("error", document.get("detail", document.get("message", "")))
        return str(error.get("message", "") if isinstance(error, dict) else error)


@dataclass(frozen=True, slots=True)
class HostileRequest:
    """One request, which a client sends on its own connection."""

    raw: bytes
    whole: bool
    """Whether the body is as long as its header says."""


def request(source: random.Random) -> HostileRequest:
    """One request."""
    method, path = source.choice(METHODS), source.choice(PATHS[:6] if source.random() < 0.7 else PATHS)
    body = _body(source, path)
    lines = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close"]
    if source.random() < 0.85:
        lines.append("Content-Type: application/json")
    some = range(source.choice((0, 0, 0, 1, 1, 2, 5)))
    lines += [f"{source.choice(HEADERS)}: {source.choice(HEADER_VALUES)}" for _ in some]
    whole = source.random() < 0.97
    length = len(body) if whole else source.choice((0, 1, len(body) // 2, -1, 10**12, 2**64))
    lines.append(f"Content-Length: {length}")
    raw = "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body
    if source.random() < 0.03:  # one byte is changed
        place = source.randrange(len(raw))
        raw = raw[:place] + bytes([source.randrange(256)]) + raw[place + 1 :]
        whole = False
    return HostileRequest(raw, whole)


def _body(source: random.Random, path: str) -> bytes:
    kind = source.random()
    if kind < 0.04:
        return source.randbytes(source.randrange(200))
    if kind < 0.06:
        return b"[" * 5000
    if kind < 0.08:
        return json.dumps(source.choice(VALUES)).encode()
    fields: dict[str, Any] = {"model": "tiny", "max_tokens": source.randrange(1, 4)}
    if "chat" in path or "messages" in path:
        fields["messages"] = [{"role": "user", "content": "a river"}]
    elif "responses" in path:
        fields["input"] = "a river"
        fields["max_output_tokens"] = fields.pop("max_tokens")
    else:
        fields["prompt"] = " river"
    for _ in range(source.choice((1, 1, 2, 4))):
        fields[source.choice(FIELDS)] = source.choice(VALUES)
    if source.random() < 0.1:
        argument = source.choice(("class", "pace", "expected_ttft", "x"))
        fields["vllm_xargs"] = {f"andante_{argument}": source.choice(VALUES)}
    text = json.dumps(fields).encode()
    return text[: source.randrange(len(text))] if source.random() < 0.03 else text


async def ask(port: int, hostile: HostileRequest, *, seconds: float) -> Answer:
    """Send the request, and read the reply to its end. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
        try:
            writer.write(hostile.raw)
            if not hostile.whole:  # the server would wait for the rest
                writer.write_eof()
            data = await reader.read()
        except ConnectionError:
            data = b""
        finally:
            writer.close()
    while data.startswith(b"HTTP/1.1 100"):
        data = data.partition(b"\r\n\r\n")[2]
    head, _, body = data.partition(b"\r\n\r\n")
    if not head:
        return Answer(0, b"")
    if b"transfer-encoding: chunked" in head.lower():
        body = _joined(body)
    return Answer(int(head.split()[1]), body)


def _joined(body: bytes) -> bytes:
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        count = int(size, 16)
        if not count:
            break
        whole, body = whole + body[:count], body[count + 2 :]
    return whole
