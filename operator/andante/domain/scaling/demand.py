"""Describes the demand of one service, as its engines tell it: what arrives, how long it is, and what waits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from andante.domain.scaling.engine_capacity import EngineCapacity
from andante.domain.scaling.figures import Figure, Known, Missing, Stale


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What a forecast needs to know. `app.scaling.demand` sums it over the engines."""

    arrivals: Known
    """Requests/s that arrived at all engines of the service within `window`, whatever became of them. A ready engine
    that does not tell counts as the mean of those that do. Without traffic it is 0, which is known at its time."""
    prompt_tokens: Figure
    """Mean prompt tokens of the requests that arrived within `window`; NoTraffic: none arrived."""
    answers: Figure
    """Answers/s that ended within the window of the deficit, cut ones included, refused requests not."""
    generated_tokens: Figure
    """Tokens/s, visible and hidden, that were generated within the window of the deficit, which is longer than
    `window`; 0 where none were."""
    generated_answers: Figure
    """Answers/s that these tokens belong to: each counts half as it begins and half as it ends, cut ones included. Of
    engines that do not tell what they generate, both are of the answers that ended."""
    waiting_requests: Figure
    """Requests on the ready replicas that have no token yet: they wait in a queue, or for the end of their prefill."""
    waiting_work: Figure
    """Seconds that one replica needs for the prompts of `waiting_requests`, by the step time of `engine`. Their answers
    are not included."""
    window: float
    """Seconds from the sample before to the newest one, in which `arrivals` were counted; 0: not known."""
    engine: EngineCapacity | Missing | Stale
    """What one replica can hold and how fast it is: the mean over the ready engines that tell it."""

    @classmethod
    def unknown(cls, figure: Missing | Stale) -> Self:
        """The demand of a service of which nothing is known, for one reason."""
        return cls(
            arrivals=figure,
            prompt_tokens=figure,
            answers=figure,
            generated_tokens=figure,
            generated_answers=figure,
            waiting_requests=figure,
            waiting_work=figure,
            window=0.0,
            engine=figure,
        )
