"""Predicts the latencies of requests that arrive now, as a router with a latency predictor would.

llm-d's law on latencies prefers the histograms of its predictor to the measured ones: a prediction rises when a queue
forms, a measurement when its requests got their first token. The predictor itself is trained online and not open to
re-implementation in a few lines; this one knows the step time of the profile and errs at random by a given share. A
real one may err more, or less.
"""

from __future__ import annotations

from andante.domain.step_time import prefill_pairs
from andante.sim.fleet.seen import PodSeen, Replica

MICROSECOND = 1e-6


def prefill_seconds(tokens: float, replica: Replica) -> float:
    """Seconds that the prefill of one prompt of `tokens` tokens adds to the steps."""
    times = replica.step_time
    return MICROSECOND * (times.token_us * tokens + times.pair_us * tokens * (tokens + 1) / 2)


def decode_step_seconds(sequences: float, context: float, replica: Replica) -> float:
    """Seconds of a step that decodes `sequences` sequences with `context` tokens of context in all."""
    return replica.step_time.step_seconds(
        prefill_tokens=0.0, prefill_pairs=0.0, decode_seqs=max(sequences, 1.0), context_tokens=context
    )


def peak_prefill(replica: Replica) -> float:
    """Prompt tokens per second of an idle replica whose steps are full of one prompt (llm-d's calibration)."""
    tokens = replica.max_num_batched_tokens
    step = replica.step_time.step_seconds(
        prefill_tokens=tokens, prefill_pairs=prefill_pairs(tokens=tokens), decode_seqs=0.0, context_tokens=0.0
    )
    return tokens / step


def predicted(pod: PodSeen, replica: Replica, *, prompt: float, output: float) -> tuple[float, float] | None:
    """Time to first token and time per output token of a request that arrives at `pod` now; None: not readable.

    While requests wait although the replica computes, its batch is full: one is admitted when another ends.
    """
    if pod.running is None or pod.waiting is None or pod.tokens_in_use is None or pod.queued_prompt_tokens is None:
        return None
    step = decode_step_seconds(pod.running, pod.tokens_in_use, replica)
    own_work = prefill_seconds(prompt, replica)
    # Each request that is admitted brings its prefill into the steps of those that run.
    ends_per_step = pod.running / max(output, 1.0)
    per_token = step + ends_per_step * own_work
    queue_work = pod.queued_prompt_tokens * prefill_seconds(prompt, replica) / max(prompt, 1.0)
    wait = queue_work
    if pod.waiting >= 1 and ends_per_step > 0:
        wait = max(wait, pod.waiting / ends_per_step * per_token)
    return wait + own_work + step, per_token
