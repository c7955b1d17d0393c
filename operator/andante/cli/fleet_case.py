"""Builds what `andante simulate`, `plan` and `compare` run: a trace on a fleet of replicas of a profile.

Bad input is refused with its option or request before anything long begins.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import numpy as np
import typer

from andante.api.v1alpha1 import LLMService, SpecError
from andante.api.values import format_duration
from andante.cli.errors import InputError
from andante.cli.simulator_errors import needs_simulator, one_profile
from andante.cli.traces import read_trace
from andante.cli.workload_options import CLASS_HELP, check_classes, named_class, select
from andante.domain.pace import PRESETS, QoEClass
from andante.domain.request_meter import Objective
from andante.domain.step_time import Profile
from andante.domain.trace import TraceRequest

if TYPE_CHECKING:
    from andante.sim.fleet.outcome import FleetOutcome
    from andante.sim.fleet.scaler import Scaler
    from andante.sim.fleet.settings import WarmUp
    from andante.sim.requests import Requests


class Scheduler(StrEnum):
    """Who orders the requests within each engine."""

    FCFS = "fcfs"
    """vLLM's own with its best flags: first come, first served."""
    PRIORITY = "priority"
    """The same with priorities: readers and agents before batch requests."""
    QOE = "qoe"
    """Andante's."""

    @property
    def is_stock(self) -> bool:
        """Whether it is vLLM's own, to which `VLLM_FLAGS` apply."""
        return self is not Scheduler.QOE


VLLM_WATERMARK: Final = 0.02
"""`--watermark` of `fcfs` and `priority`: vLLM at its best, the rival in the scheduler's benchmarks."""
VLLM_FLAGS: Final = f"--watermark {VLLM_WATERMARK:g}"
SCHEDULER_HELP: Final = (
    f"Order of requests within an engine. fcfs and priority are vLLM's own with its best flags ({VLLM_FLAGS})."
)


class NotServedError(Exception):
    """The fleet is too small: requests are open a day after the last arrival."""


def not_served(scaler: str, scheduler: Scheduler) -> InputError:
    """What a user is told of a scaler whose fleet is too small."""
    return InputError(
        f"scaler {scaler!r} with {scheduler.value}: requests are still open a day after the last arrival;"
        " raise --min or --max (of static: its number), or lower --rate-scale"
    )


def finite(param: typer.CallbackParam, value: float | None) -> float | None:
    """Refuse nan and inf. Raises InputError naming the option."""
    if value is not None and not math.isfinite(value):
        raise InputError(f"{param.opts[-1]}: must be a finite number, got {value}")
    return value


TraceOption = Annotated[Path, typer.Option(help="Workload trace; `andante trace --help` says in which form.")]
ProfileOption = Annotated[str, typer.Option(help="Profile: a file with one, or the name of a shipped one.")]
WarmupOption = Annotated[str, typer.Option(help="Seconds until a new replica is ready, or from-profile.")]
ClassOption = Annotated[str, typer.Option("--class", help=CLASS_HELP)]
ExpectedOption = Annotated[float | None, typer.Option(help="Own expectation: seconds to the first token.")]
PaceOption = Annotated[float | None, typer.Option(help="Own expectation: tokens per second.")]
TargetOption = Annotated[
    float, typer.Option(min=1e-3, max=1.0, callback=finite, help="QoE from which a request is good.")
]
GoodOption = Annotated[
    float, typer.Option(min=0.0, max=0.9999, callback=finite, help="Share of requests that must be good.")
]
RateOption = Annotated[
    float, typer.Option(min=1e-3, callback=finite, help="Serve this many times the trace's requests.")
]
DurationOption = Annotated[
    float | None,
    typer.Option(min=0.1, callback=finite, help="Take so many seconds of the trace; all if unset."),
]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of everything that is random, such as warm-ups.")]
PriceOption = Annotated[
    float | None, typer.Option(min=0.0, callback=finite, help="USD for an hour of a replica; the profile's if unset.")
]
JsonOption = Annotated[Path | None, typer.Option("--json", help="Write all figures here as JSON.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Who comes when, what serves them, and what they were promised."""

    trace: str
    """Name of the file."""
    requests: Requests
    classes: tuple[QoEClass, ...]
    """`requests.class_index` counts in them."""
    usual: QoEClass
    """The class of requests that name none."""
    profile: Profile
    objective: Objective
    good_fraction: float
    price: float | None
    """USD for an hour of one replica; None: not known."""

    @property
    def has_readers(self) -> bool:
        """Whether any request has a QoE; batch requests have none."""
        counts = np.array([each.expectation().counts_in_qoe for each in self.classes])
        return bool(counts[self.requests.class_index].any())

    @property
    def seconds(self) -> float:
        """From the first to the last arrival."""
        return float(self.requests.arrival[-1])

    def run(
        self,
        scaler: Scaler,
        *,
        start: int,
        scheduler: Scheduler = Scheduler.QOE,
        warmup: WarmUp | None = None,
        seed: int = 0,
        requests: Requests | None = None,
    ) -> FleetOutcome:
        """Serve the requests (others in their place: `requests`) on a fleet that begins with `start` ready replicas.

        Raises NotServedError where they are not over a day after the last arrival.
        """
        from andante.sim.engine import Engine
        from andante.sim.fleet.run import NotOverError, run_fleet
        from andante.sim.fleet.settings import Cluster
        from andante.sim.run import Scheduling

        watermark = VLLM_WATERMARK if scheduler.is_stock else 0.0
        try:
            return run_fleet(
                self.requests if requests is None else requests,
                Engine.of(self.profile, watermark=watermark, by_priority=scheduler is Scheduler.PRIORITY),
                scaler,
                start=start,
                cluster=Cluster() if warmup is None else Cluster(warmup=warmup),
                # Each replica fits its steps from a usual GPU's, as an engine does: it is not told the profile's.
                scheduling=None if scheduler.is_stock else Scheduling(),
                objective=self.objective,
                seed=seed,
            )
        except NotOverError as error:
            raise NotServedError(str(error)) from error


def read_case(
    trace: Path,
    profile: str,
    *,
    class_name: str,
    expected_ttft: float | None,
    pace: float | None,
    target_qoe: float,
    good_fraction: float,
    rate_scale: float,
    duration: float | None,
    price: float | None,
    command: str,
) -> Case:
    """The case that the options name. Raises InputError naming the option, or the line or request of the trace."""
    kept = select(read_trace(trace), rate_scale=rate_scale, duration=duration)
    if len(kept) < 2 or kept[-1].arrival_s <= 0:
        raise InputError("--rate-scale/--duration: fewer than two requests of the trace at two times are left")
    check_classes(kept, PRESETS)
    usual = named_class(class_name, expected_ttft, pace)
    chosen = one_profile(profile)
    _check_lengths(kept, trace, chosen)
    needs_simulator(command)
    known = {name: preset for name, preset in PRESETS.items() if name != usual.name} | {usual.name: usual}
    # The usual class is there even where no request has it: the law takes its pace.
    classes = tuple(known[name] for name in sorted({r.qoe_class or usual.name for r in kept} | {usual.name}))
    found = chosen.price_per_replica_hour if price is None else price
    return Case(
        trace=trace.name,
        requests=_requests(kept, classes, usual),
        classes=classes,
        usual=usual,
        profile=chosen,
        objective=Objective(qoe=target_qoe),
        good_fraction=good_fraction,
        price=found if math.isfinite(found) else None,
    )


def _check_lengths(requests: Sequence[TraceRequest], trace: Path, profile: Profile) -> None:
    room = profile.kv_capacity_blocks * profile.block_size
    for place, each in enumerate(requests):
        length = each.prompt_tokens + each.output_tokens
        if length > room:
            raise InputError(
                f"--trace: {trace}: request {place + 1} (after {each.arrival_s:.3f} s): its {length} tokens do not fit"
                f" into the {room} tokens of the KV cache of {profile.name}; leave it out, or take another profile"
            )


def _requests(kept: Sequence[TraceRequest], classes: Sequence[QoEClass], usual: QoEClass) -> Requests:
    from andante.sim.requests import Requests

    places = {each.name: place for place, each in enumerate(classes)}
    class_of = np.array([places[r.qoe_class or usual.name] for r in kept])
    waits = np.array([not each.expectation().counts_in_qoe for each in classes])
    return Requests.of(
        arrival=np.array([r.arrival_s for r in kept]),
        prompt_tokens=[r.prompt_tokens for r in kept],
        output_tokens=[r.output_tokens for r in kept],
        classes=classes,
        class_of=class_of,
        most_tokens=max(r.prompt_tokens + r.output_tokens for r in kept),
        priority=waits[class_of].astype(np.int64),
    )


def moved(requests: Requests, seed: int, *, by: float) -> Requests:
    """The same requests, each up to `by` seconds earlier or later; as they are for seed 0."""
    if seed == 0:
        return requests
    shift = np.random.default_rng(seed).uniform(-by, by, requests.arrival.size)
    arrival = np.abs(requests.arrival + shift)
    order = np.argsort(arrival, kind="stable")
    return with_arrivals(requests, order, arrival[order])


def with_arrivals(requests: Requests, which: np.ndarray, arrival: np.ndarray) -> Requests:
    """The requests `which`, at other times, seconds, ascending."""
    fields = {name: v if name == "paces" else v[which] for name, v in requests._asdict().items()}
    return requests._replace(**fields | {"arrival": arrival})


def warm_up(text: str, profile: Profile) -> WarmUp:
    """`from-profile`, or seconds. Raises InputError."""
    from andante.sim.fleet.settings import WarmUp

    if text == "from-profile":
        median, p95 = profile.warmup_median_seconds, profile.warmup_p95_seconds
        if not math.isfinite(median):
            raise InputError(f"--warmup: the profile {profile.name} has no warm-up; give its seconds")
        return WarmUp(median=median, p95=p95 if math.isfinite(p95) else None)
    try:
        return WarmUp(median=float(text))
    except ValueError as error:
        raise InputError(f"--warmup: {text!r} is neither from-profile nor seconds > 0") from error


def scaler_of(text: str, case: Case, *, lowest: int, most: int, warmup: WarmUp, start: int) -> tuple[Scaler, int]:
    """The scaler that `text` names, fresh for one run, and the replicas to begin with. Raises InputError."""
    from andante.sim.fleet.law_scaler import LawScaler
    from andante.sim.fleet.scaler import Static
    from andante.sim.fleet.seen import Objective as Promise
    from andante.sim.laws.registry import build

    name, _, rest = text.partition(":")
    if name == "static":
        if not (rest.isdigit() and 1 <= int(rest) <= most):
            raise InputError(f"scaler {text!r}: give it a number of replicas from 1 to --max ({most}), as static:4")
        return Static(int(rest)), int(rest)
    if name == "andante":
        return _ours(rest, case, lowest=lowest, most=most, warmup=warmup), start
    try:
        law = build(text, min_replicas=lowest, max_replicas=most)
    except ValueError as error:
        raise InputError(f"scaler {text!r}: {error}, and andante") from error
    usual = case.usual
    promise = Promise(
        expected_ttft=usual.expected_ttft, pace=usual.pace or Promise().pace, target_qoe=case.objective.qoe
    )
    return LawScaler(law, promise), start


_WINDOWS = {"up_window": "scaleUp", "down_window": "scaleDown"}
"""Seconds that a proposal must last: `spec.scaling.behavior` of an LLMService."""


def _ours(rest: str, case: Case, *, lowest: int, most: int, warmup: WarmUp) -> Scaler:
    """The production law for an LLMService. `rest`: its windows, and `mean=QOE` where a mean is promised, as
    setting=value,…"""
    from andante.sim.fleet.andante_scaler import AndanteScaler
    from andante.sim.fleet.settings import Cluster

    settings: dict[str, float] = {}
    for pair in filter(None, rest.split(",")):
        key, _, value = pair.partition("=")
        try:
            settings[key] = float(value)
        except ValueError:
            settings[key] = math.nan
        if key not in (*_WINDOWS, "mean") or not 0 <= settings[key] < math.inf:
            raise InputError(f"scaler andante: {pair!r} is not setting=value; settings are mean, {', '.join(_WINDOWS)}")
    mean = settings.pop("mean", None)
    if mean is not None and not 0 < mean < 1:
        raise InputError(f"scaler andante: mean must be a QoE between 0 and 1, got {mean:g}")
    behavior = {_WINDOWS[name]: {"stabilizationWindow": format_duration(seconds)} for name, seconds in settings.items()}
    service = {
        "metadata": {"name": "simulated", "namespace": "simulated"},
        "spec": {
            "model": {"id": "simulated", "source": {"synthetic": {}}},
            "engine": {"gpusPerReplica": 1},
            "qoe": {
                "classes": [_class(each) for each in case.classes],
                "defaultClass": case.usual.name,
                "objective": {"qoe": case.objective.qoe, "goodFraction": case.good_fraction},
            },
            "scaling": {
                "minReplicas": lowest,
                "maxReplicas": most,
                "behavior": behavior,
                **({} if mean is None else {"target": {"meanQoE": mean}}),
            },
        },
    }
    try:
        parsed = LLMService.parse(service)
    except SpecError as error:
        raise InputError(f"scaler andante: {error}") from error
    return AndanteScaler(parsed, behind=Cluster(warmup=warmup).scrape_lag)


def _class(each: QoEClass) -> dict[str, object]:
    """As `spec.qoe.classes` of an LLMService has it."""
    known = {"name": each.name, "expectedTTFT": format_duration(each.expected_ttft), "pace": each.pace}
    return known if each.deadline is None else {**known, "deadline": format_duration(each.deadline)}
