"""Two engines that differ in one thing, side by side; rounds of streams alternate between them.

So what else the machine does falls on both. The virtual GPU is fast enough for the processes around it to be the limit.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hack.engine_process import EngineProcess

PROMPT = " the river walks slow and the stone holds"
PROMPT_TOKENS = 8
"""Of `PROMPT`, with the synthetic tokenizer."""


def engine_config(policy: str) -> dict[str, Any]:
    """engine.yaml of an engine with that scheduling policy, on an 8B model's virtual H100."""
    return {
        "model": {"id": "tiny", "source": "synthetic", "servedName": "tiny", "maxModelLen": 4096},
        "virtualGpu": {"profile": "llama-3-8b-1xh100", "timeScale": 1.0},
        "scheduler": {"policy": policy},
        "extraArgs": ["--disable-uvicorn-access-log"],
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One round of streams on one server."""

    seconds: float
    tokens_per_second: float
    api_server_cpu_microseconds_per_token: float


def alternate(
    engines: Mapping[str, EngineProcess], *, streams: int, tokens: int, pairs: int, shared: int = 0
) -> dict[str, tuple[Round, ...]]:
    """`pairs` rounds on each of the two engines, in turns (a, b; b, a; …), after one that is not counted.

    A round is `streams` completions of `tokens` tokens at once, of prompts that begin with the same `shared` tokens;
    with 0 the prompts are short and begin in different ways. Raises RuntimeError when a stream does not end whole.
    """
    first, second = engines
    rounds: dict[str, list[Round]] = {name: [] for name in engines}

    def measure(name: str) -> Round:
        return asyncio.run(_round(engines[name], streams=streams, tokens=tokens, shared=shared))

    for name in engines:  # the first requests import much
        measure(name)
    for pair in range(pairs):
        for name in (first, second) if pair % 2 == 0 else (second, first):
            rounds[name].append(measure(name))
        speeds = ", ".join(f"{name} {rounds[name][-1].tokens_per_second:6.0f} tokens/s" for name in engines)
        print(f"  pair {pair + 1} of {pairs}: {speeds}", flush=True)
    return {name: tuple(measured) for name, measured in rounds.items()}


def median_ratio(ours: Sequence[Round], theirs: Sequence[Round], figure: str) -> float:
    """Median over the pairs of ours / theirs; single rounds differ by a tenth."""
    return statistics.median(getattr(a, figure) / getattr(b, figure) for a, b in zip(ours, theirs, strict=True))


def median(rounds: Sequence[Round], figure: str) -> str:
    """Median of one of `Round`'s figures, for a table."""
    return f"{statistics.median(getattr(entry, figure) for entry in rounds):.0f}"


async def _round(engine: EngineProcess, *, streams: int, tokens: int, shared: int) -> Round:
    prefix = PROMPT * (shared // PROMPT_TOKENS)
    prompts = [f"{prefix} {number}{PROMPT}" for number in range(streams)]
    cpu, started = _cpu_seconds(engine.pid), time.perf_counter()
    await asyncio.gather(*(_stream(engine.port, prompt, tokens) for prompt in prompts))
    seconds = time.perf_counter() - started
    delivered = streams * tokens
    return Round(
        seconds=seconds,
        tokens_per_second=delivered / seconds,
        api_server_cpu_microseconds_per_token=1e6 * (_cpu_seconds(engine.pid) - cpu) / delivered,
    )


async def _stream(port: int, prompt: str, tokens: int) -> None:
    """One streamed completion over a bare socket: a client that costs as little CPU as can be."""
    body = json.dumps({"model": "tiny", "prompt": prompt, "max_tokens": tokens, "stream": True}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
        b"content-type: application/json\r\ncontent-length: " + str(len(body)).encode() + b"\r\n\r\n" + body
    )
    tail = b""
    while chunk := await reader.read(65_536):
        tail = (tail + chunk)[-2048:]
    writer.close()
    if b'"finish_reason":"length"' not in tail or b"data: [DONE]" not in tail:
        raise RuntimeError(f"a stream did not end as it should: {tail[-300:]!r}")


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
