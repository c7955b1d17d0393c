"""Tokens on their way from the engine to the connection, and how a request's outcome is told."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from andante.domain.request_meter import Outcome
from andante_vllm.delivery import Delivery, Ending, EngineEnd, PlainDelivery, tell_outcome
from andante_vllm.reply_forms import CHAT, FORMS, ReplyForm

CHUNK = b'data: {"choices": []}\n\n'


class Reader:
    """Collects what was delivered and hidden."""

    def __init__(self) -> None:
        self.got: list[tuple[float, int]] = []
        self.hidden = 0

    def deliver(self, times: Sequence[float], tokens: Sequence[int]) -> None:
        self.got += zip(times, tokens, strict=True)

    def hide(self, tokens: int) -> None:
        self.hidden += tokens

    def delivery(self, *, form: ReplyForm | None = None, choices: int = 1) -> Delivery:
        made = Delivery(deliver=self.deliver, hide=self.hide, form=form)
        made.expect(choices)
        return made


def send(delivery: Delivery | PlainDelivery, at: float, body: bytes = CHUNK, *, stream: bool = True) -> None:
    delivery.sent(at, body, stream=stream, count_tokens=lambda text: len(text.split()))


def chat_chunk(finish_reason: str | None = None, index: int = 0, **delta: Any) -> bytes:
    choice = {"index": index, "delta": delta, "finish_reason": finish_reason}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


def test_tokens_count_when_the_connection_takes_them() -> None:
    reader = Reader()
    plain = PlainDelivery(deliver=reader.deliver)
    plain.produced(0, 1, finished=False)
    send(plain, 1.0)
    plain.produced(0, 2, finished=False)
    plain.produced(0, 1, finished=True)
    send(plain, 2.0)
    send(plain, 3.0, b"data: [DONE]\n\n")
    plain.settle()
    assert reader.got == [(1.0, 1), (2.0, 3)]


def test_a_keep_alive_comment_carries_nothing() -> None:
    reader = Reader()
    for delivery in (PlainDelivery(deliver=reader.deliver), reader.delivery()):
        delivery.produced(0, 1, finished=False)
        send(delivery, 1.0, b": keep-alive\n\n")
        delivery.settle()
    assert reader.got == []


@given(st.lists(st.tuples(st.integers(1, 3), st.booleans()), max_size=150))
def test_one_choice_is_metered_the_same_by_both_forms(steps: list[tuple[int, bool]]) -> None:
    readers = Reader(), Reader()
    forms = PlainDelivery(deliver=readers[0].deliver), readers[1].delivery()
    for at, (tokens, sent) in enumerate(steps):
        for form in forms:
            form.produced(0, tokens, finished=False)
            if sent:
                send(form, float(at))
    for form in forms:
        form.settle()
    assert readers[0].got == readers[1].got


def test_the_reader_of_several_choices_waits_for_the_slowest() -> None:
    reader = Reader()
    delivery = reader.delivery(choices=2)
    delivery.produced(0, 3, finished=False)
    send(delivery, 1.0)
    assert reader.got == []
    delivery.produced(1, 2, finished=False)
    send(delivery, 2.0)
    assert reader.got == [(2.0, 2)]


def test_a_choice_that_ended_holds_nobody_up() -> None:
    reader = Reader()
    delivery = reader.delivery(choices=2)
    delivery.produced(0, 2, finished=True)
    delivery.produced(1, 5, finished=False)
    send(delivery, 1.0)
    assert reader.got == [(1.0, 5)]


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4)), max_size=40),
)
def test_the_reader_ends_with_as_many_tokens_as_the_longest_choice(steps: list[tuple[int, int]]) -> None:
    reader = Reader()
    delivery = reader.delivery(choices=3)
    lengths = [0, 0, 0]
    for at, (choice, tokens) in enumerate(steps):
        lengths[choice] += tokens
        delivery.produced(choice, tokens, finished=False)
        send(delivery, float(at))
    for choice in range(3):
        delivery.produced(choice, 0, finished=True)
    send(delivery, 1e3)
    assert sum(tokens for _, tokens in reader.got) == max(lengths)


@given(
    steps=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4), st.booleans(), st.booleans()), max_size=60),
    more=st.integers(0, 3),
)
def test_the_reader_has_what_every_open_choice_has(steps: list[tuple[int, int, bool, bool]], more: int) -> None:
    """By the definition, over all choices; some are announced in the middle of it."""
    reader = Reader()
    delivery = reader.delivery(choices=6)
    sent, waiting, finished = [0] * 6, [0] * 6, [False] * 6
    furthest = 0
    for at, (choice, tokens, ends, goes_out) in enumerate(steps):
        if at == len(steps) // 2:
            delivery.expect(more)
            sent, waiting, finished = sent + [0] * more, waiting + [0] * more, finished + [False] * more
        if not finished[choice]:
            delivery.produced(choice, tokens, finished=ends)
            waiting[choice] += tokens
            finished[choice] = ends
        if goes_out:
            send(delivery, float(at))
            sent, waiting = [s + w for s, w in zip(sent, waiting, strict=True)], [0] * len(sent)
            still = [s for s, f in zip(sent, finished, strict=True) if not f]
            furthest = max(furthest, min(still) if still else max(sent))
            assert sum(count for _, count in reader.got) == furthest


@pytest.mark.parametrize("form", [None, CHAT])
def test_a_chunk_costs_the_same_however_many_choices_there_are(form: ReplyForm | None) -> None:
    """Counted in lines of the meter that run for a chunk, not timed."""

    def lines(choices: int) -> int:
        reader = Reader()
        delivery = reader.delivery(form=form, choices=choices)
        for choice in range(choices):
            delivery.produced(choice, 1, finished=False)
            send(delivery, 0.0, chat_chunk(content="x", index=choice))
        run = 0

        def count(frame: FrameType, event: str, _: object) -> Any:
            nonlocal run
            if "andante_vllm" not in frame.f_code.co_filename:
                return None
            run += event == "line"
            return count

        body = chat_chunk(content="x", index=choices - 1)
        before = sys.gettrace()
        sys.settrace(count)
        try:
            for _ in range(20):
                delivery.produced(choices - 1, 1, finished=False)
                send(delivery, 1.0, body)
        finally:
            sys.settrace(before)
        return run

    assert lines(4096) == pytest.approx(lines(4), rel=0.2)


def test_reasoning_is_hidden_and_what_parsers_swallow_goes_with_it() -> None:
    reader = Reader()
    delivery = reader.delivery(form=CHAT)
    for at, body in enumerate(
        [
            None,  # the opening mark: swallowed
            chat_chunk(reasoning="let me"),
            chat_chunk(reasoning=" see"),
            None,  # the closing mark: swallowed
            chat_chunk(content="Yes"),
            chat_chunk(content="."),
        ]
    ):
        delivery.produced(0, 1, finished=False)
        if body is not None:
            send(delivery, float(at), body)
    assert reader.hidden == 4
    assert reader.got == [(4.0, 1), (5.0, 1)]


def test_a_call_that_was_held_back_is_visible_when_it_comes() -> None:
    reader = Reader()
    delivery = reader.delivery(form=CHAT)
    delivery.produced(0, 7, finished=False)
    send(delivery, 1.0, chat_chunk(tool_calls=[{"index": 0}]))
    assert reader.got == [(1.0, 7)]


def test_the_role_chunk_of_a_chat_carries_no_token() -> None:
    reader = Reader()
    delivery = reader.delivery(form=CHAT)
    delivery.produced(0, 1, finished=False)
    send(delivery, 1.0, chat_chunk(role="assistant", content=""))
    send(delivery, 2.0, chat_chunk(content="Yes"))
    assert reader.got == [(2.0, 1)]


@pytest.mark.parametrize(
    ("message", "visible"),
    [
        ({"reasoning": "a b c", "content": "d e"}, 2),
        ({"reasoning": "a b c", "content": None}, 0),
        ({"reasoning": "a b c", "content": None, "tool_calls": [{}]}, 7),
        ({"content": "d e f"}, 3),
    ],
)
def test_a_whole_reply_is_split_by_its_message(message: dict[str, Any], visible: int) -> None:
    reader = Reader()
    delivery = reader.delivery(form=CHAT)
    delivery.produced(0, 10, finished=True)
    send(delivery, 1.0, json.dumps({"choices": [{"index": 0, "message": message}]}).encode(), stream=False)
    assert sum(tokens for _, tokens in reader.got) == visible
    assert reader.hidden == 10 - visible


def _sse(kind: str, **more: Any) -> bytes:
    return f"event: {kind}\ndata: ".encode() + json.dumps({"type": kind, **more}).encode() + b"\n\n"


STREAMS = {
    "/v1/chat/completions": [chat_chunk(reasoning="see"), chat_chunk(content="Yes"), chat_chunk(content=".")],
    "/v1/responses": [
        _sse("response.output_item.added", item={"type": "reasoning"}),
        _sse("response.reasoning_text.delta", delta="see"),
        _sse("response.reasoning_text.done", text="see"),
        _sse("response.output_text.delta", delta="Yes"),
        _sse("response.output_text.delta", delta="."),
        _sse("response.completed", response={}),
    ],
    "/v1/messages": [
        _sse("message_start", message={}),
        _sse("content_block_start", content_block={"type": "thinking"}),
        _sse("content_block_delta", delta={"type": "thinking_delta", "thinking": "see"}),
        _sse("content_block_start", content_block={"type": "text"}),
        _sse("content_block_delta", delta={"type": "text_delta", "text": "Yes"}),
        _sse("content_block_delta", delta={"type": "text_delta", "text": "."}),
        _sse("message_delta", delta={"stop_reason": "end_turn"}),
    ],
}


@pytest.mark.parametrize("path", STREAMS)
def test_every_path_that_thinks_tells_reasoning_from_content(path: str) -> None:
    """A token before each chunk that carries text: one hidden, two in sight."""
    reader = Reader()
    delivery = reader.delivery(form=FORMS[path])
    for at, body in enumerate(STREAMS[path]):
        if any(text in body for text in (b'"see"', b'"Yes"', b'"."')) and b"done" not in body:
            delivery.produced(0, 1, finished=False)
        send(delivery, float(at), body)
    assert (reader.hidden, sum(tokens for _, tokens in reader.got)) == (1, 2)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/responses", _sse("response.function_call_arguments.delta", delta="{")),
        ("/v1/messages", _sse("content_block_start", content_block={"type": "tool_use"})),
        ("/v1/messages", _sse("content_block_delta", delta={"type": "input_json_delta", "partial_json": "{"})),
    ],
)
def test_a_call_is_visible_on_every_path(path: str, body: bytes) -> None:
    reader = Reader()
    delivery = reader.delivery(form=FORMS[path])
    delivery.produced(0, 7, finished=False)
    send(delivery, 1.0, body)
    assert reader.got == [(1.0, 7)]


REASONED = {
    "/v1/chat/completions/batch": {"choices": [{"index": 0, "message": {"reasoning": "a b c", "content": "d e"}}]},
    "/v1/responses": {
        "output": [
            {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "a b c"}]},
            {"type": "message", "content": [{"type": "output_text", "text": "d e"}]},
        ]
    },
    "/v1/messages": {"content": [{"type": "thinking", "thinking": "a b c"}, {"type": "text", "text": "d e"}]},
}
CALLED = {
    "/v1/responses": {
        "output": [
            {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "a b c"}]},
            {"type": "function_call", "name": "look"},
        ]
    },
    "/v1/messages": {"content": [{"type": "thinking", "thinking": "a b c"}, {"type": "tool_use", "name": "look"}]},
}


@pytest.mark.parametrize(
    ("path", "reply", "visible"),
    [*((path, reply, 2) for path, reply in REASONED.items()), *((path, reply, 7) for path, reply in CALLED.items())],
)
def test_a_whole_reply_of_every_path_is_split(path: str, reply: dict[str, Any], visible: int) -> None:
    reader = Reader()
    delivery = reader.delivery(form=FORMS[path])
    delivery.produced(0, 10, finished=True)
    send(delivery, 1.0, json.dumps(reply).encode(), stream=False)
    assert sum(tokens for _, tokens in reader.got) == visible
    assert reader.hidden == 10 - visible


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "output", "content", "type", "delta", "message", "index", "text", "thinking"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@example(value={"choices": [{"index": [], "delta": {"content": "x"}}]}, path="/v1/chat/completions", stream=True)
@given(value=JSON_VALUES, path=st.sampled_from(sorted(FORMS)), stream=st.booleans())
def test_no_document_breaks_the_meter(value: object, path: str, stream: bool) -> None:
    reader = Reader()
    delivery = reader.delivery(form=FORMS[path])
    delivery.produced(0, 1, finished=False)
    body = json.dumps(value).encode()
    send(delivery, 1.0, b"data: " + body if stream else body, stream=stream)
    assert reader.hidden + sum(tokens for _, tokens in reader.got) <= 1


@given(st.binary(max_size=60), st.booleans())
def test_no_bytes_of_a_reply_break_the_meter(body: bytes, stream: bool) -> None:
    reader = Reader()
    delivery = reader.delivery(form=CHAT)
    delivery.produced(0, 1, finished=False)
    send(delivery, 1.0, b"data: {" + body, stream=stream)
    send(delivery, 2.0, body, stream=stream)
    assert reader.hidden + sum(tokens for _, tokens in reader.got) <= 1


@pytest.mark.parametrize(
    ("ending", "outcome"),
    [
        (Ending(reached_engine=True, status=200, complete=True), Outcome.COMPLETED),
        (Ending(reached_engine=True, status=200, client_left=True), Outcome.ABORTED),
        (Ending(reached_engine=True, status=None, client_left=True, engine_end=EngineEnd.ABORT), Outcome.ABORTED),
        (Ending(reached_engine=True, status=200, complete=True, engine_end=EngineEnd.ERROR), Outcome.FAILED),
        (Ending(reached_engine=True, status=200, complete=False), Outcome.FAILED),
        (Ending(reached_engine=True, status=500, complete=True), Outcome.FAILED),
        (Ending(reached_engine=True, status=200, complete=True, engine_end=EngineEnd.DRAIN), Outcome.DRAINED),
        (Ending(reached_engine=True, status=503, complete=True, engine_end=EngineEnd.DRAIN), Outcome.DRAINED),
        (
            Ending(reached_engine=True, status=200, complete=True, engine_end=EngineEnd.ABORT, draining=True),
            Outcome.DRAINED,
        ),
        (Ending(reached_engine=False, status=503, complete=True), Outcome.REJECTED),
        (Ending(reached_engine=True, status=200, complete=True, engine_end=EngineEnd.REJECTION), Outcome.REJECTED),
        (Ending(reached_engine=False, status=500, complete=True), Outcome.FAILED),
        (Ending(reached_engine=False, status=400, complete=True), None),
        (Ending(reached_engine=True, status=200, complete=True, engine_end=EngineEnd.CLIENT_ERROR), None),
        (Ending(reached_engine=False, client_left=True), None),
        (Ending(reached_engine=False, status=503, complete=True, counts=False), None),
        (Ending(reached_engine=False, status=200, complete=True), None),
    ],
)
def test_the_outcome_is_told_from_the_facts(ending: Ending, outcome: Outcome | None) -> None:
    assert tell_outcome(ending) is outcome
