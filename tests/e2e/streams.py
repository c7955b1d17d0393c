"""Reads streams whose tokens are known in advance: the virtual GPU repeats the ids of the prompt."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx

PROMPT = tuple(range(20, 120))
"""Ids of ordinary tokens, all different, so that a lost, doubled or misplaced token can be seen."""
EVERY_SECONDS = 3.0


def connections(most: int = 1) -> httpx.Client:
    """A client that keeps up to `most` connections and never repeats a request."""
    limits = httpx.Limits(max_connections=most, max_keepalive_connections=most, keepalive_expiry=None)
    return httpx.Client(timeout=httpx.Timeout(120, connect=10), limits=limits, trust_env=False)


def expected(tokens: int) -> list[int]:
    """The right answer to PROMPT."""
    return [PROMPT[k % len(PROMPT)] for k in range(tokens)]


class Stream:
    """One answer of `tokens` tokens. Its own thread reads it as it comes."""

    def __init__(self, url: str, *, model: str, tokens: int, pool: httpx.Client | None = None) -> None:
        """`pool`: the client to use; without it the stream has its own connection."""
        self._url, self._model, self._tokens, self._pool = url, model, tokens, pool
        self._began = threading.Event()
        self.ids: list[int] = []
        self.ending = "still open"
        self._finish_reason: str | None = None
        self._began_at, self._ended_at = time.time(), 0.0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def wait_first_token(self) -> None:
        assert self._began.wait(60), f"no token in 60 s: {self.ending}"
        assert self.ids, self.ending

    def wait_end(self) -> None:
        """Wait until the stream has ended, well or not; at most 180 s."""
        self._thread.join(180)

    @property
    def whole(self) -> bool:
        """Whether the stream ended as it should, with each token once and in its place."""
        return self.ending == "[DONE]" and self.ids == expected(self._tokens)

    def assert_whole(self) -> None:
        self.wait_end()
        assert self.whole, str(self)

    def __str__(self) -> str:
        """When the stream began and ended, which tokens came, and how it ended."""
        lasted = f"{self._ended_at - self._began_at:.1f} s" if self._ended_at else "not over"
        right = expected(len(self.ids))
        wrong = [place for place, token in enumerate(self.ids) if token != right[place]]
        out_of_place = f", out of place from {wrong[0]} on: {self.ids[wrong[0] : wrong[0] + 10]}" if wrong else ""
        began = time.strftime("%H:%M:%S", time.gmtime(self._began_at))
        return (
            f"began {began}, {lasted}, to {self._url}: "
            f"{len(self.ids)} of {self._tokens} tokens{out_of_place}, then: {self.ending}"
        )

    def _run(self) -> None:
        try:
            self._read()
        except (httpx.HTTPError, OSError) as error:
            self.ending = f"{type(error).__name__}: {error}"
        finally:
            self._ended_at = time.time()
            self._began.set()

    def _read(self) -> None:
        body = {
            "model": self._model,
            "prompt": list(PROMPT),
            "max_tokens": self._tokens,
            "ignore_eos": True,
            "stream": True,
            "return_token_ids": True,
        }
        with contextlib.ExitStack() as own:
            client = self._pool or own.enter_context(connections())
            reply = own.enter_context(client.stream("POST", f"{self._url}/v1/completions", json=body))
            if reply.status_code != 200:
                self.ending = f"HTTP {reply.status_code}: {reply.read().decode(errors='replace')[:300]}"
                return
            ending = "the connection was closed without [DONE]"
            for line in reply.iter_lines():
                if line.startswith(":"):  # a comment in a long silence
                    continue
                data = line.removeprefix("data: ")
                if data == "[DONE]" and self._finish_reason != "length":
                    ending = f"[DONE] after finish_reason {self._finish_reason}"
                elif data == "[DONE]":
                    ending = data
                elif data and not self._take(data):
                    ending = f"the server sent: {data[:300]}"
                    break
            self.ending = ending

    def _take(self, data: str) -> bool:
        """Take the tokens of one event. False where it is no part of an answer, such as an error."""
        document = json.loads(data) if data.startswith("{") else {}
        if "choices" not in document:
            return False
        for choice in document["choices"]:
            self.ids += choice.get("token_ids") or ()
            self._finish_reason = choice.get("finish_reason") or self._finish_reason
        self._began.set()
        return True


def assert_all_whole(streams: list[Stream]) -> None:
    """Fail unless all streams are whole. The failure describes every stream, which often shows the cause."""
    for stream in streams:
        stream.wait_end()
    assert all(stream.whole for stream in streams), "not every stream is whole:\n" + "\n".join(map(str, streams))


@contextmanager
def steady_streams(url: str, *, model: str, tokens: int) -> Iterator[Callable[[], list[Stream]]]:
    """Start a new stream every few seconds inside the block. Yields a function that returns the streams so far."""
    streams: list[Stream] = [Stream(url, model=model, tokens=tokens)]
    over = threading.Event()

    def begin() -> None:
        while not over.wait(EVERY_SECONDS):
            streams.append(Stream(url, model=model, tokens=tokens))

    thread = threading.Thread(target=begin, daemon=True)
    thread.start()
    try:
        yield lambda: list(streams)
    finally:
        over.set()
        thread.join()
