"""Whether the virtual GPU keeps its promise: time per token at the client against the profile, at 1, 8 and 32 streams.

All streams of a round start together with prompts of one length, so that while they decode every step holds all of them
and the profile says how long it takes. Only tokens between the first and the last tenth of the shortest stream count.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.results_file import write_result
from hack.engine_process import EngineProcess

from andante.profiles import load_profiles

SEED = 7
PROMPT_TOKENS = 64


async def _stream(port: int, prompt: list[int], tokens: int) -> list[float]:
    """One streamed completion over a bare socket; when each token's chunk came, in seconds."""
    body = json.dumps(
        {"model": "tiny", "prompt": prompt, "max_tokens": tokens, "stream": True, "return_token_ids": True}
    ).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
        b"content-type: application/json\r\ncontent-length: " + str(len(body)).encode() + b"\r\n\r\n" + body
    )
    times: list[float] = []
    while line := await reader.readline():
        if line.startswith(b"data: {"):
            at = time.perf_counter()
            times += [at] * len(json.loads(line[6:])["choices"][0]["token_ids"])
    writer.close()
    if len(times) != tokens:
        raise RuntimeError(f"a stream brought {len(times)} tokens instead of {tokens}")
    return times


async def _seconds_per_token(port: int, *, streams: int, tokens: int, margin: int) -> float:
    source = random.Random(SEED + streams)
    prompts = [[source.randrange(10, 400) for _ in range(PROMPT_TOKENS)] for _ in range(streams)]
    deliveries = await asyncio.gather(*(_stream(port, prompt, tokens) for prompt in prompts))
    span = tokens - 1 - 2 * margin
    return statistics.mean((times[-1 - margin] - times[margin]) / span for times in deliveries)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="llama-3-8b-1xh100", choices=sorted(load_profiles()))
    parser.add_argument("--time-scale", type=float, default=3.0)
    parser.add_argument("--tokens", type=int, default=200, help="per stream")
    parser.add_argument("--rounds", type=int, default=3, help="per number of streams; the median counts")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8, 32])
    arguments = parser.parse_args()
    margin = arguments.tokens // 10
    coefficients = load_profiles()[arguments.profile].coefficients.scaled(arguments.time_scale)
    rows: list[list[object]] = []
    figures: dict[str, Any] = {}
    worst: dict[str, float] = {}
    for mode in ("async", "sync"):
        config = {
            "model": {"id": "tiny", "source": "synthetic", "servedName": "tiny", "maxModelLen": 2048},
            "virtualGpu": {
                "profile": arguments.profile,
                "timeScale": arguments.time_scale,
                "asyncScheduling": mode == "async",
            },
            "scheduler": {"policy": "fcfs"},  # vLLM's own: the device is measured, not a policy
            "extraArgs": ["--disable-uvicorn-access-log"],
        }
        print(f"bench-virtual-gpu: starting an engine with {mode} scheduling", flush=True)
        with EngineProcess(config) as engine:
            asyncio.run(_seconds_per_token(engine.port, streams=2, tokens=40, margin=4))  # not counted
            for streams in arguments.streams:
                expected = statistics.mean(
                    coefficients.step_seconds(
                        prefill_tokens=0,
                        prefill_pairs=0,
                        decode_seqs=streams,
                        context_tokens=streams * (PROMPT_TOKENS + token),
                    )
                    for token in range(margin + 1, arguments.tokens - margin)
                )
                measured = [
                    asyncio.run(
                        _seconds_per_token(engine.port, streams=streams, tokens=arguments.tokens, margin=margin)
                    )
                    for _ in range(arguments.rounds)
                ]
                error = statistics.median(measured) / expected - 1
                worst[mode] = max(worst.get(mode, 0.0), abs(error))
                figures[f"{mode}_{streams}"] = {"expected_seconds": expected, "measured_seconds": measured}
                rows.append(
                    [
                        mode,
                        streams,
                        f"{1e3 * expected:.2f}",
                        f"{1e3 * statistics.median(measured):.2f}",
                        f"{error:+.1%}",
                    ]
                )
                print(
                    f"  {mode}, {streams} streams: {rows[-1][2]} ms by the profile, {rows[-1][3]} measured", flush=True
                )
    headline = {
        "max_abs_error_async": round(worst["async"], 4),
        "max_abs_error_sync": round(worst["sync"], 4),
    }
    path = write_result(
        "virtual_gpu",
        headline=headline,
        settings={**vars(arguments), "seed": SEED, "prompt_tokens": PROMPT_TOKENS},
        figures=figures,
        table=(["scheduling", "streams", "profile, ms per token", "measured", "off by"], rows),
        packages=["vllm", "uvicorn"],
    )
    print(f"{headline}\n{path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
