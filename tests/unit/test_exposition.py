"""What a pod's /metrics says, or why it says nothing: the text comes from the network."""

from __future__ import annotations

import pytest

from andante.adapters.exposition import parse
from andante.app.measurement import QOE_COUNT, REQUESTS, VISIBLE_TOKENS
from andante.ports import PodSample, Unread

TEXT = """\
# HELP vllm:num_requests_running Number of requests.
vllm:num_requests_running{model_name="chat"} 3.0
andante_requests_total{model_name="chat",outcome="completed",qoe_class="reading"} 7.0
andante_requests_total{model_name="chat",outcome="aborted",qoe_class="voice"} 2.0
andante_tokens_total{kind="visible",model_name="chat",qoe_class="reading"} 500.0
andante_tokens_total{kind="prompt",model_name="chat",qoe_class="reading"} 900.0
andante_request_qoe_bucket{le="0.5",model_name="chat",qoe_class="reading"} 1.0
andante_request_qoe_sum{model_name="chat",qoe_class="reading"} 6.5
andante_request_qoe_count{model_name="chat",qoe_class="reading"} 7.0
andante_open_requests{model_name="chat",qoe_class="reading"} 4.0
andante_open_qoe_sum{model_name="chat",qoe_class="reading"} 3.5
andante_open_deficit_sum{model_name="chat",qoe_class="reading"} 0.4
"""


def _sample(text: str = TEXT) -> PodSample:
    sample = parse(text, at=100.0)
    assert isinstance(sample, PodSample)
    return sample


def test_counters_are_summed_over_classes_and_outcomes() -> None:
    assert _sample().counters[REQUESTS] == 9.0


def test_tokens_are_told_apart_by_kind() -> None:
    assert _sample().counters[VISIBLE_TOKENS] == 500.0


def test_open_requests_are_read_with_their_qoe() -> None:
    sample = _sample()
    assert (sample.open_requests, sample.open_qoe_sum, sample.open_deficit_sum) == (4.0, 3.5, 0.4)


def test_qoe_is_kept_per_class() -> None:
    assert _sample().by_class == {"reading": (6.5, 7.0)}


def test_a_counter_that_no_request_has_moved_yet_is_zero() -> None:
    gauges = "\n".join(line for line in TEXT.splitlines() if line.startswith("andante_open"))
    assert _sample(gauges + "\n").counters[QOE_COUNT] == 0.0


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "andante_open_requests"),
        ("<html>not metrics</html>", "andante_open_requests"),
        (TEXT.replace(" 4.0", " NaN"), "nan"),
        (TEXT.replace(" 7.0", " +Inf"), "inf"),
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
