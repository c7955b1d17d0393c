"""What is sent to, and read from, an OpenAI-compatible endpoint."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andante.cli.openai_stream import MAX_EVENT_BYTES, EventParser, MalformedReplyError, read_chunk, request_body
from andante.domain.trace import TraceRequest

STREAM = b': ping\n\ndata: {"a": 1}\n\nevent: x\ndata: two\ndata:lines\n\ndata: [DONE]\n\n'
EVENTS = [b'{"a": 1}', b"two\nlines", b"[DONE]"]


def _prompt(index: int, *, prompt_tokens: int = 600, prefix_group: str = "") -> list[int]:
    request = TraceRequest(arrival_s=0, prompt_tokens=prompt_tokens, output_tokens=3, prefix_group=prefix_group)
    prompt: list[int] = json.loads(request_body(request, index=index, model="m", vocabulary=200))["prompt"]
    return prompt


@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=8), crlf=st.booleans())
def test_events_are_found_wherever_the_network_cuts_the_stream(cuts: list[int], crlf: bool) -> None:
    parser, found, start = EventParser(), [], 0
    for end in [*sorted(cuts), len(STREAM)]:
        block = STREAM[start:end]
        found += parser.feed(block.replace(b"\n", b"\r\n") if crlf else block)
        start = end
    assert found == EVENTS


@given(cut=st.integers(0, 100))
def test_a_cut_between_carriage_return_and_line_feed_is_no_line_end(cut: int) -> None:
    stream = b"data: 1\r\n\r\ndata: 2\r\n\r\n"
    parser = EventParser()
    assert parser.feed(stream[:cut]) + parser.feed(stream[cut:]) == [b"1", b"2"]


def test_an_event_without_end_is_given_up() -> None:
    parser = EventParser()
    parser.feed(b"x" * MAX_EVENT_BYTES)
    with pytest.raises(MalformedReplyError, match="bytes"):
        parser.feed(b"x")


def test_tokens_are_counted_by_id_over_all_choices() -> None:
    chunk = read_chunk(
        b'{"choices": [{"text": "", "token_ids": [1, 2]}, {"text": "x", "token_ids": [3], "finish_reason": "length"}]}'
    )
    assert (chunk.tokens, chunk.finish_reason, chunk.error) == (3, "length", None)


def test_an_error_within_the_stream_is_told() -> None:
    assert read_chunk(b'{"error": {"message": "out of luck"}}').error == "{'message': 'out of luck'}"


def test_usage_without_choices_holds_no_token() -> None:
    assert read_chunk(b'{"choices": [], "usage": {"completion_tokens": 9}}').tokens == 0


@pytest.mark.parametrize("data", [b"{", b"[]", b"3", b'{"choices": 1}', b'{"choices": [1]}', b"\xff", b"{}"])
def test_what_is_no_chunk_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedReplyError, match="not a completion chunk"):
        read_chunk(data)


def test_an_endpoint_without_token_ids_is_refused_rather_than_counted_by_text() -> None:
    with pytest.raises(MalformedReplyError, match="return_token_ids"):
        read_chunk(b'{"choices": [{"text": "hello"}]}')


@pytest.mark.parametrize("group", ["", "g"])
@pytest.mark.parametrize("length", [1, 2, 512, 513, 5000])
def test_a_prompt_has_exactly_the_trace_length(length: int, group: str) -> None:
    prompt = _prompt(3, prompt_tokens=length, prefix_group=group)
    assert len(prompt) == length
    assert all(10 <= token < 200 for token in prompt)


def test_prompts_differ_within_their_first_block() -> None:
    assert len({tuple(_prompt(i)[:16]) for i in range(3000)}) == 3000


def test_prompts_of_a_prefix_group_begin_alike_and_end_apart() -> None:
    one, two, other = _prompt(1, prefix_group="a"), _prompt(2, prefix_group="a"), _prompt(1, prefix_group="b")
    assert one[:512] == two[:512]
    assert one[512:] != two[512:]
    assert one[:16] != other[:16]


def test_the_answer_is_asked_for_at_exactly_the_trace_length() -> None:
    request = TraceRequest(arrival_s=0, prompt_tokens=4, output_tokens=77)
    body = json.loads(request_body(request, index=0, model="m", vocabulary=200))
    assert (body["model"], body["max_tokens"], body["ignore_eos"], body["stream"]) == ("m", 77, True, True)
    assert body["return_token_ids"] is True
