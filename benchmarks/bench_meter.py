"""What the delivery meter costs: tokens per second of 128 streams with it and without it, paired in one run.

Two servers that differ in the meter alone run side by side; rounds alternate between them (with, without; without,
with; and so on), so that what else the machine does falls on both. The virtual GPU is fast enough for the API server to
be the limit. Beside throughput the API server's CPU time per token is reported: it depends less on who else runs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.results_file import write_result
from hack.engine_process import EngineProcess

CONFIG: dict[str, Any] = {
    "model": {"id": "tiny", "source": "synthetic", "servedName": "tiny", "maxModelLen": 2048},
    "virtualGpu": {"profile": "llama-3-8b-1xh100", "timeScale": 1.0},
    "scheduler": {"policy": "fcfs"},  # vLLM's own: the meter alone is measured
    "extraArgs": ["--disable-uvicorn-access-log"],
}
PROMPT = " the river walks slow and the stone holds"


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One round of streams on one server."""

    seconds: float
    tokens_per_second: float
    api_server_cpu_microseconds_per_token: float


async def _stream(port: int, tokens: int) -> None:
    """One streamed completion over a bare socket: a client that costs as little CPU as can be."""
    body = json.dumps({"model": "tiny", "prompt": PROMPT, "max_tokens": tokens, "stream": True}).encode()
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


async def _round(engine: EngineProcess, *, streams: int, tokens: int) -> Round:
    cpu, started = _cpu_seconds(engine.pid), time.perf_counter()
    await asyncio.gather(*(_stream(engine.port, tokens) for _ in range(streams)))
    seconds = time.perf_counter() - started
    delivered = streams * tokens
    return Round(
        seconds=seconds,
        tokens_per_second=delivered / seconds,
        api_server_cpu_microseconds_per_token=1e6 * (_cpu_seconds(engine.pid) - cpu) / delivered,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=120, help="per stream")
    parser.add_argument("--pairs", type=int, default=40, help="paired rounds; single ones differ by a tenth")
    arguments = parser.parse_args()
    with_meter: list[Round] = []
    without: list[Round] = []
    print("bench-meter: starting two engines, with and without the meter", flush=True)
    with EngineProcess(CONFIG) as metered, EngineProcess(CONFIG, meter=False) as bare:

        def measure(engine: EngineProcess) -> Round:
            return asyncio.run(_round(engine, streams=arguments.streams, tokens=arguments.tokens))

        for engine in (metered, bare):  # not counted: the first requests import much
            measure(engine)
        for pair in range(arguments.pairs):
            first, second = (metered, bare) if pair % 2 == 0 else (bare, metered)
            for engine in (first, second):
                (with_meter if engine is metered else without).append(measure(engine))
            print(
                f"  pair {pair + 1} of {arguments.pairs}: {with_meter[-1].tokens_per_second:6.0f} tokens/s with, "
                f"{without[-1].tokens_per_second:6.0f} without",
                flush=True,
            )
        samples = metered.metrics()
        counted = sum(value for (name, _), value in samples.items() if name == "andante_requests_total")
    expected = arguments.streams * (arguments.pairs + 1)
    if counted != expected:
        raise RuntimeError(f"the meter counted {counted:.0f} requests, {expected} were sent")
    ratios = [a.tokens_per_second / b.tokens_per_second for a, b in zip(with_meter, without, strict=True)]
    cpu_ratios = [
        a.api_server_cpu_microseconds_per_token / b.api_server_cpu_microseconds_per_token
        for a, b in zip(with_meter, without, strict=True)
    ]
    headline = {
        f"throughput_ratio_{arguments.streams}_streams": round(statistics.median(ratios), 4),
        "api_server_cpu_ratio": round(statistics.median(cpu_ratios), 4),
    }
    rows = [
        [
            name,
            *(f"{statistics.median(getattr(entry, field) for entry in rounds):.0f}" for field in Round.__slots__[1:]),
        ]
        for name, rounds in (("with the meter", with_meter), ("without", without))
    ]
    rows.append(["ratio (median of pairs)", f"{statistics.median(ratios):.3f}", f"{statistics.median(cpu_ratios):.3f}"])
    path = write_result(
        "meter",
        headline=headline,
        settings={**vars(arguments), "config": CONFIG, "seed": "none: every request is the same"},
        figures={
            "ratios": ratios,
            "cpu_ratios": cpu_ratios,
            "with_meter": [asdict(entry) for entry in with_meter],
            "without": [asdict(entry) for entry in without],
        },
        table=(["server", "tokens/s (median)", "API server CPU us/token (median)"], rows),
        packages=["vllm", "uvicorn", "prometheus-client"],
    )
    print(f"{headline}\n{path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
