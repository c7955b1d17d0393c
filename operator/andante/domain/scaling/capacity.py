"""Translates requests into replicas' worth of work, from what one replica can hold and how fast it is.

The scaler counts demand in work, not in requests: one long document may need as much of a GPU as a hundred short
questions. `law` calls this once a tick.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from andante.domain.scaling.demand import Demand
from andante.domain.scaling.engine_capacity import EngineCapacity
from andante.domain.scaling.figures import value_of
from andante.domain.scaling.numbers import number, short

VERSION = 2
KV_SHARE = 0.97
"""Share of the KV cache that can be full: a new request needs room before an old one ends."""
KV_PER_REQUEST = 8.0
"""Tokens of KV that a request wastes on average: half of its last block of 16 tokens."""
FORGET_REQUESTS_SECONDS = 300.0
"""Time in which the mean lengths follow a change of the requests: long enough to be a mean, short enough to follow a
change of use within one warm-up of a large model."""
LARGEST = 1e8
"""No true mean length (tokens) or rate (requests/s) is larger."""
LEAST_KNOWN = 1e-6
"""Least `Lengths.known`, as rates are divided by it."""
LEAST_REQUESTS = 8.0
"""Requests for which the earlier means count at the least: one request after a silence is not the new mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Mean lengths of the requests, which the scaler learns. Tokens."""

    prompt: float
    answer: float
    rate: float
    """Mean requests/s: a tick counts by its share of the requests."""
    known: float = 1.0
    """Weight of what was seen in `FORGET_REQUESTS_SECONDS`, in (0, 1]; near 0 for a new service, so that its first
    requests do not count as five minutes of them."""
    answers: float = 0.0
    """Weight of `answer`: mean answers/s by the same memory. The time before the service was seen counts as without."""

    @classmethod
    def first(cls, *, prompt: float, tokens: float, answers: float, rate: float, seconds: float) -> Self:
        """The means of the first `seconds`. The arguments are as in `learned`, and > 0."""
        gain = _gain(seconds)
        return cls(
            prompt=short(prompt),
            answer=short(tokens / answers),
            rate=short(rate),
            known=short(gain),
            answers=short(gain * answers),
        )

    def learned(self, *, prompt: float | None, tokens: float, answers: float, rate: float, seconds: float) -> Self:
        """The means after `seconds` with `rate` requests/s, and `tokens`/s in `answers`/s; all may be 0. `prompt`: None
        where there was none; its mean stays as it was."""
        gain, least = _gain(seconds), LEAST_REQUESTS / FORGET_REQUESTS_SECONDS
        known = self.known + gain * (1 - self.known)
        before, new = (1 - gain) * self.rate * self.known, gain * rate
        share = new / (new + max(before, least))
        earlier = (1 - gain) * self.answers
        old = max(earlier, least)
        return dataclasses.replace(
            self,
            prompt=self.prompt if prompt is None else short(self.prompt + share * (prompt - self.prompt)),
            answer=short(min(LARGEST, (old * self.answer + gain * tokens) / (old + gain * answers))),
            rate=short((before + new) / known),
            known=short(known),
            answers=short(earlier + gain * answers),
        )

    def to_state(self) -> dict[str, Any]:
        """The means as JSON."""
        return {
            "v": VERSION,
            "prompt": self.prompt,
            "answer": self.answer,
            "rate": self.rate,
            "known": self.known,
            "answers": self.answers,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self | None:
        """The means; None where the format is not known. Raises ValueError or TypeError for invalid content."""
        if state.get("v") != VERSION:
            return None
        prompt, answer, rate, answers = (
            number(state[name], least=0.0, most=LARGEST) for name in ("prompt", "answer", "rate", "answers")
        )
        known = number(state["known"], least=LEAST_KNOWN, most=1.0)
        return cls(prompt=prompt, answer=answer, rate=rate, known=known, answers=answers)


def _gain(seconds: float) -> float:
    """The weight of the newest `seconds` in the memory."""
    return max(LEAST_KNOWN, -math.expm1(-seconds / FORGET_REQUESTS_SECONDS))


def learned_lengths(lengths: Lengths | None, demand: Demand, *, seconds: float) -> Lengths | None:
    """The mean lengths after the newest requests; None: no request has told its lengths yet. `seconds`: how much of the
    demand's window is new."""
    prompt, rate = value_of(demand.prompt_tokens), value_of(demand.arrivals)
    tokens, answers = value_of(demand.generated_tokens) or 0.0, value_of(demand.generated_answers) or 0.0
    if rate is None:
        return lengths
    if lengths is not None:
        return lengths.learned(prompt=prompt, tokens=tokens, answers=answers, rate=rate, seconds=seconds)
    if prompt is None or tokens <= 0 or answers <= 0:
        return None
    return Lengths.first(prompt=prompt, tokens=tokens, answers=answers, rate=rate, seconds=seconds)


def requests_per_second(engine: EngineCapacity, lengths: Lengths, *, pace: float) -> float:
    """Requests/s that one replica can serve without end at these mean lengths, with each reader on pace.

    `pace`: tokens/s of a reader; 0: the readers have no pace. The number of sequences S is bounded by the KV cache, the
    engine's own limit, and the step time, which must not exceed the time in which a reader reads a step's tokens. One
    request then needs O/r steps (O: its answer, r: tokens per step), in each of which it costs its share of the step,
    and its prefill.
    """
    prompt, answer = max(lengths.prompt, 1.0), max(lengths.answer, 1.0)
    step = engine.step_time
    per_sequence = _per_sequence(engine, lengths)
    sequences = full_batch(engine, lengths, pace=pace)
    steps = max(1.0, answer / engine.tokens_per_step)
    prefill = step.prefill_token * prompt
    seconds = steps * (step.base + sequences * per_sequence) + sequences * prefill
    return sequences / max(seconds, 1e-9)


def full_batch(engine: EngineCapacity, lengths: Lengths, *, pace: float) -> float:
    """The number of sequences S of `requests_per_second`; >= 1."""
    per_sequence = _per_sequence(engine, lengths)
    sequences = min(KV_SHARE * engine.kv_tokens / (_context(lengths) + KV_PER_REQUEST), engine.max_num_seqs)
    spare = engine.tokens_per_step / pace - engine.step_time.base if pace > 0 else 0.0
    on_pace = spare / per_sequence if per_sequence > 0 else 0.0
    if on_pace >= 1:  # else even a reader who is alone is late, and no number of replicas changes that
        sequences = min(sequences, on_pace)
    return max(1.0, sequences)


def _context(lengths: Lengths) -> float:
    """Mean tokens of a request's context while it is answered."""
    return max(lengths.prompt, 1.0) + max(lengths.answer, 1.0) / 2


def _per_sequence(engine: EngineCapacity, lengths: Lengths) -> float:
    """Seconds by which one more sequence lengthens a step."""
    return engine.step_time.sequence + engine.step_time.context_token * _context(lengths)


def work(demand: Demand, lengths: Lengths, engine: EngineCapacity, *, pace: float) -> float | None:
    """Replicas' worth of work that arrived in the newest window; None: not known. `pace` as above.

    The prefill counts with the prompts of this window, the decode with the mean lengths: prompts are known when they
    arrive, answers only when they end.
    """
    rate = value_of(demand.arrivals)
    if rate is None:
        return None
    prompt = value_of(demand.prompt_tokens)
    own = lengths.prompt if prompt is None else prompt
    each = 1 / requests_per_second(engine, lengths, pace=pace)
    return max(0.0, rate * (each + engine.step_time.prefill_token * (own - lengths.prompt)))


def served(demand: Demand, lengths: Lengths, engine: EngineCapacity, *, pace: float) -> float | None:
    """Replicas' worth of work of the answers that ended within the window of the deficit, by what one replica should
    serve; None: not known. While readers are late because of load, this is what the ready replicas really can do."""
    rate = value_of(demand.answers)
    return None if rate is None else rate / requests_per_second(engine, lengths, pace=pace)


def backlog(demand: Demand, lengths: Lengths, engine: EngineCapacity, *, pace: float) -> float:
    """Replica seconds of work that waits in the engines' queues, prefill and decode; 0 where that is not known."""
    prefill, requests = value_of(demand.waiting_work), value_of(demand.waiting_requests)
    if prefill is None or requests is None:
        return 0.0
    each = 1 / requests_per_second(engine, lengths, pace=pace)
    return prefill + requests * max(0.0, each - engine.step_time.prefill_token * lengths.prompt)
