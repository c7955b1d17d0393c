"""AIConfigurator's answer to the question of `andante plan`: how many replicas, if each request were the mean one."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from andante.cli.aiconfigurator import MeanValue, Replica, installed, model_of, needs_aiconfigurator, system_of
from andante.cli.fleet_case import Case

_MINUTE = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """The trace as a mean-value model sees it."""

    prompt_tokens: int
    output_tokens: int
    ttft: float
    """Seconds: the shortest that one of the classes expects."""
    pace: float
    """Tokens per second: the fastest that one of the classes reads."""
    mean_rate: float
    """Requests per second over the whole trace."""
    busiest_rate: float | None
    """The same in its busiest 60 s; None where the trace is shorter."""

    @classmethod
    def of(cls, case: Case) -> Question:
        """The means of all requests, and the strictest of the expectations that any of them has."""
        requests = case.requests
        known = [case.classes[place].expectation() for place in np.unique(requests.class_index)]
        readers = [each for each in known if each.pace > 0]
        return cls(
            prompt_tokens=round(float(requests.prompt.mean())),
            # It has no answers of a single token.
            output_tokens=max(2, round(float(requests.output.mean()))),
            ttft=min(each.expected_ttft for each in readers),
            pace=max(each.pace for each in readers),
            mean_rate=requests.arrival.size / case.seconds,
            busiest_rate=busiest_rate(requests.arrival),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What AIConfigurator says."""

    data: str
    """Its version and whose kernel times it has."""
    model: str
    question: Question
    found: MeanValue | None
    """None: no batch is within the limits."""

    @property
    def replicas_for_mean(self) -> int | None:
        """For the trace's mean rate."""
        return self._replicas(self.question.mean_rate)

    @property
    def replicas_for_busiest(self) -> int | None:
        """For its busiest minute."""
        return self._replicas(self.question.busiest_rate)

    def _replicas(self, rate: float | None) -> int | None:
        return None if rate is None or self.found is None else math.ceil(rate / self.found.requests_per_second)

    def text(self) -> str:
        """For people."""
        asked = self.question
        head = (
            f"AIConfigurator for the mean request ({asked.prompt_tokens:,} prompt and {asked.output_tokens:,} answer"
            f" tokens, TTFT {asked.ttft:g} s, {asked.pace:g} tokens/s): "
        )
        if self.found is None:
            return f"{head}no batch meets both. [{self.model}, {self.data}]"
        busiest = (
            "" if asked.busiest_rate is None
            else f", {self.replicas_for_busiest} for {asked.busiest_rate:.3g} in its busiest minute"
        )  # fmt: skip
        return (
            f"{head}{self.found.requests_per_second:.3g} requests/s for a replica, so {self.replicas_for_mean} for the"
            f" trace's {asked.mean_rate:.3g} requests/s on average{busiest}. It is a mean-value answer: every request"
            f" alike, no bursts, no queue that carries over. [{self.model}, {self.data}]"
        )

    def document(self) -> dict[str, Any]:
        """For --json."""
        return {
            "data": self.data,
            "model": self.model,
            "question": asdict(self.question),
            "found": None if self.found is None else asdict(self.found),
            "replicas_for_mean_rate": self.replicas_for_mean,
            "replicas_for_busiest_minute": self.replicas_for_busiest,
        }


def busiest_rate(arrival: NDArray[np.float64]) -> float | None:
    """Requests per second in the busiest 60 s of ascending arrivals; None where they span less."""
    if arrival[-1] - arrival[0] < _MINUTE:
        return None
    within = np.searchsorted(arrival, arrival + _MINUTE, side="left") - np.arange(arrival.size)
    return float(within.max()) / _MINUTE


def replica_to_ask(case: Case, given: tuple[str, str] | None) -> Replica | None:
    """The replica to ask AIConfigurator about: of the given model and GPU, else the profile's where it knows both.

    None where it is not to be asked. Raises InputError where a given one cannot be.
    """
    model, gpu = given or (case.profile.model, case.profile.gpu)
    if given is None and not (installed() and model_of(model) and system_of(gpu)):
        return None
    needs_aiconfigurator("--aiconfigurator")
    return Replica(model, gpu, case.profile.tensor_parallel)


def ask(case: Case, replica: Replica) -> Answer:
    """What it says. Raises InputError where it cannot estimate the replica."""
    question = Question.of(case)
    found = replica.mean_value(
        prompt_tokens=question.prompt_tokens,
        output_tokens=question.output_tokens,
        ttft=question.ttft,
        tpot=1 / question.pace,
        max_num_seqs=case.profile.max_num_seqs,
    )
    return Answer(data=replica.data, model=replica.model, question=question, found=found)
