"""What a pod's /metrics says, or why it says nothing: the text comes from the network."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from andante.adapters.exposition import NEEDED, OPTIONAL, WANTED, sample_of
from andante.adapters.exposition_lines import WantedLines
from andante.app.scaling.pod_history import DEFICIT, IDLE_DEFICIT, REJECTED_REQUESTS, VISIBLE_TOKENS
from andante.domain import metric_names
from andante.domain.idle_replica import IdleReason
from andante.domain.scaling.engine_capacity import EngineCapacity
from andante.domain.step_time import DEFAULT_STEP_TIME, LinearStepTime
from andante.ports import PodSample, Unread

TEXT = """\
# HELP vllm:num_requests_running Number of requests.
vllm:num_requests_running{model_name="chat"} 3.0
andante_requests_total{model_name="chat",outcome="completed",qoe_class="reading"} 7.0
andante_requests_total{model_name="chat",outcome="aborted",qoe_class="voice"} 2.0
andante_requests_total{model_name="chat",outcome="rejected",qoe_class="reading"} 0.0
andante_tokens_total{kind="visible",model_name="chat",qoe_class="reading"} 500.0
andante_tokens_total{kind="hidden",model_name="chat",qoe_class="reading"} 60.0
andante_tokens_total{kind="prompt",model_name="chat",qoe_class="reading"} 900.0
andante_request_qoe_bucket{le="0.5",model_name="chat",qoe_class="reading"} 1.0
andante_ended_qoe_total{model_name="chat",qoe_class="reading"} 6.5
andante_requests_scored_total{model_name="chat",qoe_class="reading"} 7.0
andante_open_requests{model_name="chat",qoe_class="reading"} 4.0
andante_open_qoe{model_name="chat",qoe_class="reading"} 3.5
andante_requests_good_total{model_name="chat",qoe_class="reading"} 5.0
andante_idle_penalty_tokens_total{model_name="chat",qoe_class="reading"} 11.0
andante_unavoidable_idle_penalty_tokens_total{model_name="chat",qoe_class="reading"} 2.0
andante_idle_step_time_fitted{model_name="chat"} 1.0
andante_open_deficit{cause="load",model_name="chat",qoe_class="reading"} 0.4
andante_open_deficit{cause="idle",model_name="chat",qoe_class="reading"} 0.3
andante_open_deficit{cause="failed",model_name="chat",qoe_class="reading"} 0.0
andante_open_deficit{cause="client",model_name="chat",qoe_class="reading"} 0.2
andante_request_deficit_total{cause="load",model_name="chat",qoe_class="reading"} 0.8
andante_request_deficit_total{cause="idle",model_name="chat",qoe_class="reading"} 0.6
andante_request_deficit_total{cause="failed",model_name="chat",qoe_class="reading"} 0.95
andante_request_deficit_total{cause="client",model_name="chat",qoe_class="reading"} 0.0
andante_request_idle_deficit_total{model_name="chat",qoe_class="reading",why="reasoning"} 0.5
andante_request_idle_deficit_total{model_name="chat",qoe_class="reading",why="prompt"} 0.1
andante_request_idle_deficit_total{model_name="chat",qoe_class="reading",why="pace"} 0.0
andante_request_idle_deficit_total{model_name="chat",qoe_class="reading",why="empty"} 0.0
andante_request_idle_deficit_total{model_name="chat",qoe_class="reading",why="slow"} 0.0
andante_arrived_requests_total{model_name="chat"} 14.0
andante_arrived_prompt_tokens_total{model_name="chat"} 2800.0
vllm:generation_tokens_total{engine="0",model_name="chat"} 900.0
andante_waiting_requests{model_name="chat"} 3.0
andante_waiting_prompt_tokens{model_name="chat"} 650.0
andante_engine_info{kv_cache_tokens="400000",max_num_batched_tokens="8192",max_num_seqs="256",model_name="chat"} 1.0
andante_scheduler_step_time_base_seconds{model_name="chat"} 0.011
andante_scheduler_step_time_prefill_token_seconds{model_name="chat"} 2e-05
andante_scheduler_step_time_sequence_seconds{model_name="chat"} 3e-05
andante_scheduler_step_time_context_token_seconds{model_name="chat"} 4e-08
andante_scheduler_tokens_per_step{model_name="chat"} 1.5
"""


def parse(text: str, *, at: float) -> PodSample | Unread:
    lines = WantedLines(WANTED)
    lines.feed(text.encode())
    return sample_of(lines, at=at)


def _sample(text: str = TEXT) -> PodSample:
    sample = parse(text, at=100.0)
    assert isinstance(sample, PodSample)
    return sample


def test_counters_are_summed_over_classes_and_outcomes() -> None:
    assert _sample().counters[metric_names.REQUESTS] == 9.0


def test_tokens_are_told_apart_by_kind() -> None:
    assert _sample().counters[VISIBLE_TOKENS] == 500.0


def test_open_requests_are_read_with_their_qoe() -> None:
    sample = _sample()
    assert (sample.open_requests, sample.open_qoe_sum) == (4.0, 3.5)
    assert sample.open_deficit == {"load": 0.4, "idle": 0.3, "failed": 0.0, "client": 0.2}


def test_deficits_are_told_apart_by_cause() -> None:
    counters = _sample().counters
    assert {cause.value: counters[name] for cause, name in DEFICIT.items()} == {
        "load": 0.8, "idle": 0.6, "failed": 0.95, "client": 0.0
    }  # fmt: skip
    assert counters[IDLE_DEFICIT[IdleReason.REASONING]] == 0.5


@pytest.mark.parametrize(("line", "fitted"), [(" 1.0", True), (" 0.0", False), (None, None)])
def test_whether_the_step_time_is_fitted_is_read(line: str | None, fitted: bool | None) -> None:
    name = 'andante_idle_step_time_fitted{model_name="chat"}'
    assert _sample(TEXT.replace(f"{name} 1.0", "" if line is None else name + line)).step_time_fitted is fitted


@pytest.mark.parametrize(
    ("value", "seconds"), [("75.5", 75.5), ("0.0", 0.0), ("NaN", None), ("-1.0", None), ("+Inf", None), (None, None)]
)
def test_for_how_long_an_engine_made_no_step_is_read_or_not_known(value: str | None, seconds: float | None) -> None:
    line = "" if value is None else f'andante_engine_silent_seconds{{model_name="chat"}} {value}\n'
    assert _sample(TEXT + line).silent_seconds == seconds


def test_qoe_is_kept_per_class() -> None:
    assert _sample().by_class == {"reading": (6.5, 7.0)}


@pytest.mark.parametrize("name", NEEDED)
def test_a_metric_that_is_not_there_is_unknown_and_not_zero(name: str) -> None:
    """Engines show theirs from their start; one that does not is of another version."""
    metric, _, part = name.partition("/")
    lines = [line for line in TEXT.splitlines() if not (line.startswith(metric + "{") and f'"{part}"' in line + '""')]
    assert len(lines) < len(TEXT.splitlines())
    sample = parse("\n".join(lines) + "\n", at=0.0)
    assert isinstance(sample, Unread)
    assert f"no metric {name}" in sample.why


def test_many_missing_metrics_are_counted_and_not_all_named() -> None:
    text = "\n".join(line for line in TEXT.splitlines() if "andante_request_" not in line) + "\n"
    sample = parse(text, at=0.0)
    assert isinstance(sample, Unread)
    named = ", ".join(f"andante_request_deficit_total/{cause}" for cause in ("load", "idle", "failed"))
    assert f"no metric {named} and 6 more" in sample.why


@pytest.mark.parametrize("name", OPTIONAL)
def test_a_metric_that_only_says_more_may_be_missing(name: str) -> None:
    assert _sample("\n".join(line for line in TEXT.splitlines() if not line.startswith(name)) + "\n")


def test_an_engine_that_does_not_tell_causes_is_not_read_as_one_without_load() -> None:
    before = 'andante_request_deficit_total{model_name="chat",qoe_class="reading"} 0.8\n'
    text = "\n".join(line for line in TEXT.splitlines() if "andante_request_deficit_total" not in line)
    assert isinstance(parse(f"{text}\n{before}", at=0.0), Unread)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "andante_open_requests"),
        ("<html>not metrics</html>", "andante_open_requests"),
        (TEXT.replace(" 4.0", " NaN"), "nan"),
        (TEXT.replace(" 7.0", " +Inf"), "inf"),
        (TEXT.replace(" 7.0", " 1e308") + TEXT.replace(" 7.0", " 1e308"), "inf"),
        (TEXT.replace(" 7.0", " 1e300"), "1e+300"),
        ('andante_open_requests{model_name="x 1.0\n', "not Prometheus text"),
    ],
)
def test_what_cannot_be_read_says_why(text: str, word: str) -> None:
    sample = parse(text, at=0.0)
    assert isinstance(sample, Unread)
    assert word in sample.why


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    ("series", "scheduling"),
    [
        ((("policy", 1.0),), ""),
        ((("policy", 0.0), ("policy failed: IndexError: 3", 0.0)), "policy failed: IndexError: 3"),
        ((("policy", 1.0), ("policy failed: of an engine before", 0.0)), ""),
    ],
)
def test_of_an_engine_that_gave_its_policy_up_the_reason_is_read(
    series: tuple[tuple[str, float], ...], scheduling: str, order: int
) -> None:
    text = "".join(
        f'andante_scheduler_active{{model_name="chat",policy="qoe",reason="{reason}"}} {value}\n'
        for reason, value in series[::order]
    )
    sample = parse(text, at=0.0)
    assert isinstance(sample, Unread)
    assert sample.scheduling == scheduling


def test_an_engine_without_the_meter_still_says_which_scheduling_it_runs() -> None:
    reason = "untested vLLM 0.33.0 (tested: 0.32.0)"
    sample = parse(f'andante_scheduler_active{{model_name="chat",policy="qoe",reason="{reason}"}} 0.0\n', at=0.0)
    assert isinstance(sample, Unread)
    assert sample.scheduling == reason
    assert "without Andante's delivery meter" in sample.why


def test_what_arrived_and_what_waits_is_read_with_the_tokens_of_the_prompts() -> None:
    assert (_sample().arrived, _sample().waiting) == ((14.0, 2800.0), (3.0, 650.0))


def test_what_was_generated_is_read_with_the_tokens_of_open_requests() -> None:
    assert _sample().generated == 900.0


def test_what_several_engine_cores_generated_adds_up() -> None:
    second = 'vllm:generation_tokens_total{engine="1",model_name="chat"} 50.0\n'
    assert _sample(TEXT + second).generated == 950.0


def test_answers_that_were_refused_are_told_apart() -> None:
    counters = _sample(TEXT.replace('outcome="aborted"', 'outcome="rejected"')).counters
    assert (counters[metric_names.REQUESTS], counters[REJECTED_REQUESTS]) == (9.0, 2.0)


FIT = "andante_scheduler_step_time_"


def test_what_an_engine_can_do_is_read() -> None:
    assert _sample().capacity == EngineCapacity(
        kv_tokens=400_000,
        max_num_seqs=256,
        max_step_tokens=8192,
        step_time=LinearStepTime(base=0.011, prefill_token=2e-5, sequence=3e-5, context_token=4e-8),
        fitted=True,
        tokens_per_step=1.5,
    )


@pytest.mark.parametrize("drop", [lambda line: False, lambda line: line.startswith(FIT)])
def test_an_engine_without_a_fit_has_the_step_time_that_a_fit_starts_from(drop: Callable[[str], bool]) -> None:
    """Before the first step the scheduler shows zeros, and with vLLM's own scheduling nothing."""
    lines = [
        f"{line.rsplit(' ', 1)[0]} 0.0" if line.startswith((FIT, "andante_scheduler_tokens")) else line
        for line in TEXT.splitlines()
        if not drop(line)
    ]
    capacity = _sample("\n".join(lines) + "\n").capacity
    assert capacity is not None
    assert (capacity.step_time, capacity.fitted, capacity.tokens_per_step) == (DEFAULT_STEP_TIME, False, 1.0)


@pytest.mark.parametrize("part", ["base", "prefill_token", "sequence", "context_token"])
def test_a_part_of_a_step_time_that_is_not_there_is_unknown_and_not_zero(part: str) -> None:
    lines = [line for line in TEXT.splitlines() if not line.startswith(f"{FIT}{part}_seconds")]
    sample = _sample("\n".join(lines) + "\n")
    assert sample.capacity is None
    assert (sample.arrived, sample.waiting) == (_sample().arrived, _sample().waiting)


def test_a_fit_without_its_tokens_per_step_is_unknown() -> None:
    lines = [line for line in TEXT.splitlines() if not line.startswith("andante_scheduler_tokens_per_step")]
    assert _sample("\n".join(lines) + "\n").capacity is None


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-1.0"])
@pytest.mark.parametrize(
    ("name", "figure"),
    [
        ("andante_arrived_requests_total", "arrived"),
        ("andante_arrived_prompt_tokens_total", "arrived"),
        ("vllm:generation_tokens_total", "generated"),
        ("andante_waiting_requests", "waiting"),
        ("andante_waiting_prompt_tokens", "waiting"),
        ("andante_scheduler_step_time_sequence_seconds", "capacity"),
    ],
)
def test_an_impossible_figure_of_the_demand_is_unknown_and_costs_that_figure_alone(
    name: str, figure: str, value: str
) -> None:
    lines = [f"{line.rsplit(' ', 1)[0]} {value}" if line.startswith(name) else line for line in TEXT.splitlines()]
    sample = _sample("\n".join(lines) + "\n")
    told = {each for each in ("arrived", "generated", "waiting", "capacity") if getattr(sample, each) is not None}
    assert told == {"arrived", "generated", "waiting", "capacity"} - {figure}


@pytest.mark.parametrize("limit", ["", "none", "0", "-5", "NaN", "inf"])
@pytest.mark.parametrize("name", metric_names.ENGINE_LIMITS)
def test_a_limit_that_no_engine_has_is_unknown(name: str, limit: str) -> None:
    assert _sample(re.sub(f'{name}="[0-9]+"', f'{name}="{limit}"', TEXT)).capacity is None
