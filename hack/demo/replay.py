"""Makes the data with which the report replays answers at their measured token times (`replay.js` plays it). Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from andante.cli.bench import RequestResult
from andante.domain.pace import QoEClass
from hack.demo.outcome import Demo


def replay_data(demo: Demo, reader: QoEClass, prompt_tokens: Sequence[int]) -> dict[str, Any]:
    """What `replay.js` needs, ready for JSON. `prompt_tokens`: of each request, by its number.

    `requests`: those that every side has, by their numbers; `n`: number, `a`: arrival (s), `p`: prompt tokens, `w`:
    tokens that were asked for; `q`: QoE on each side; `t`: times of the tokens on each side, as `encode` makes them;
    `e`: how the answer ended on each side, null where it came whole; `d`: its milliseconds, there only.
    """
    by_side = [{r.number: r for r in side.results} for side in demo.sides]
    numbers = sorted(set.intersection(*(set(results) for results in by_side)))
    return {
        "sides": [side.name for side in demo.sides],
        "expectedTTFT": reader.expected_ttft,
        "pace": reader.pace,
        "requests": [_request(number, [r[number] for r in by_side], prompt_tokens[number]) for number in numbers],
    }


def _request(number: int, results: Sequence[RequestResult], prompt: int) -> dict[str, Any]:
    first = results[0]
    found: dict[str, Any] = {
        "n": number,
        "a": round(first.arrival, 1),
        "p": prompt,
        "w": first.wanted_tokens,
        "q": [None if r.score.qoe is None else round(r.score.qoe, 3) for r in results],
        "t": [encode(r.delivery) for r in results],
    }
    if any(r.error for r in results):
        found["e"] = [r.error for r in results]
        found["d"] = [round(1000 * r.duration) for r in results]
    return found


def encode(delivery: Sequence[float]) -> str:
    """The times of an answer's tokens, in seconds, as milliseconds since the token before, with spaces between."""
    at = [0, *(round(1000 * second) for second in delivery)]
    return " ".join(str(b - a) for a, b in pairwise(at))


def script_json(data: Mapping[str, Any]) -> str:
    """JSON that can stand in an HTML script element, whatever texts are in it."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
