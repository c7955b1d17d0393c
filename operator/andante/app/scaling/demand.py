"""Sums the demand of a service over its engines: what arrives, how long it is, what waits, and what an engine can do.

A figure that an engine does not tell is not 0. A ready engine gets its share of the requests, so it counts as the mean
of the engines that tell. A new engine was read once: it cannot have more than what arrived since its start. An engine
that is so new that it was never read counts as nothing: the others' windows are from before it was there.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from statistics import fmean

from andante.app.scaling.pod_history import Answers, Arrivals, PodHistory
from andante.domain.scaling.demand import Demand
from andante.domain.scaling.engine_capacity import EngineCapacity
from andante.domain.scaling.figures import Figure, Known, Missing, NoTraffic, Observed
from andante.domain.step_time import DEFAULT_STEP_TIME, LinearStepTime
from andante.ports import PodSample

NO_ARRIVALS = "no engine tells what arrived in two samples: a new engine does after the second, an older one never"
NO_QUEUE = "no engine tells what waits: an older one never does"
NO_CAPACITY = "no engine tells its capacity: an older one never does, nor one with data parallelism"
NO_FIT = (
    "no engine has fitted its step time: a new one does after its first steps, one with vLLM's own scheduling never"
)


def capacity_told(
    *,
    kv_tokens: float,
    max_num_seqs: float,
    max_step_tokens: float,
    fit: tuple[float, ...],
    tokens_per_step: float,
) -> EngineCapacity:
    """What an engine can do by its limits and by `fit`, the four parts of the step time that it shows, in seconds.

    Before an engine's first step all of them are 0, and with vLLM's own scheduling there are none: nothing is
    fitted then. Raises ValueError for a number that no engine has.
    """
    fitted = any(fit)
    return EngineCapacity(
        kv_tokens=kv_tokens,
        max_num_seqs=max_num_seqs,
        max_step_tokens=max_step_tokens,
        step_time=LinearStepTime(*fit) if fitted else DEFAULT_STEP_TIME,
        fitted=fitted,
        tokens_per_step=tokens_per_step if fitted else 1.0,
    )


def demand(
    ready: Sequence[tuple[PodHistory, PodSample]],
    leaving: Sequence[PodHistory],
    *,
    unread: int,
    answers_per_second: float,
    answers: Sequence[Answers],
    at: float,
) -> Demand:
    """Sum the demand at `at`, the time of the newest sample.

    ready: the ready pods with a fresh sample. leaving: pods that get no new requests now, and may have got some within
    the window. unread: ready pods without a fresh sample that are not new. answers_per_second, answers: of all pods,
    within the measures' window.
    """
    told = [arrivals for history, _ in ready if (arrivals := history.arrivals) is not None]
    gone = [arrivals for history in leaving if (arrivals := history.arrivals) is not None]
    engine = _mean_capacity([sample.capacity for _, sample in ready if sample.capacity is not None])
    waiting = [sample.waiting for _, sample in ready if sample.waiting is not None]
    untold = len(ready) - len(waiting) + unread
    requests, prompts = (_with_mean([pair[part] for pair in waiting], untold=untold) for part in (0, 1))
    return Demand(
        arrivals=_rate(told, gone, ready, unread=unread, at=at),
        prompt_tokens=_mean_prompt([*told, *gone], at=at),
        answers=Observed(value=answers_per_second, at=at),
        generated_tokens=Observed(value=sum(each.tokens / each.seconds for each in answers), at=at),
        generated_answers=Observed(value=sum(each.answers / each.seconds for each in answers), at=at),
        waiting_requests=Missing(why=NO_QUEUE) if requests is None else Observed(value=requests, at=at),
        waiting_work=_work(prompts, engine, at=at),
        window=fmean(each.seconds for each in told) if told else 0.0,
        engine=Missing(why=NO_CAPACITY) if engine is None else engine,
    )


def _rate(
    told: Sequence[Arrivals],
    gone: Sequence[Arrivals],
    ready: Sequence[tuple[PodHistory, PodSample]],
    *,
    unread: int,
    at: float,
) -> Known:
    """Requests/s that arrived at all pods."""
    if not told:
        return Missing(why=NO_ARRIVALS)
    mean = fmean(each.requests / each.seconds for each in told)
    window = fmean(each.seconds for each in told)
    total = sum(each.requests / each.seconds for each in (*told, *gone)) + unread * mean
    for history, sample in ready:
        if history.arrivals is None:
            total += mean if sample.arrived is None else min(mean, sample.arrived[0] / window)
    return Observed(value=total, at=at)


def _mean_prompt(arrived: Collection[Arrivals], *, at: float) -> Figure:
    if not arrived:
        return Missing(why=NO_ARRIVALS)
    requests = sum(each.requests for each in arrived)
    if requests <= 0:
        return NoTraffic()
    return Observed(value=sum(each.prompt_tokens for each in arrived) / requests, at=at)


def _with_mean(told: Sequence[float], *, untold: int) -> float | None:
    """The sum over all, those that do not tell with the mean of the others."""
    return sum(told) + untold * fmean(told) if told else None


def _work(prompt_tokens: float | None, engine: EngineCapacity | None, *, at: float) -> Figure:
    """Seconds that one replica needs for so many tokens of prompts."""
    if prompt_tokens is None:
        return Missing(why=NO_QUEUE)
    if engine is None:
        return Missing(why=NO_CAPACITY)
    return Observed(value=prompt_tokens * engine.step_time.prefill_token, at=at)


def _mean_capacity(told: Sequence[EngineCapacity]) -> EngineCapacity | None:
    """The mean of all; of the step times, only of those that were fitted, where there is one."""
    if not told or all(each == told[0] for each in told):
        return told[0] if told else None
    fits = [each for each in told if each.fitted] or told
    return EngineCapacity(
        kv_tokens=fmean(each.kv_tokens for each in told),
        max_num_seqs=fmean(each.max_num_seqs for each in told),
        max_step_tokens=fmean(each.max_step_tokens for each in told),
        step_time=LinearStepTime(*map(fmean, zip(*(each.step_time for each in fits), strict=True))),
        fitted=fits[0].fitted,
        tokens_per_step=fmean(each.tokens_per_step for each in fits),
    )
