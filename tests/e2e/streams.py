"""Streams whose every token is known beforehand: the virtual GPU repeats the prompt's ids, round and round."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx

PROMPT = tuple(range(20, 120))
"""Ids of ordinary tokens, all different: a lost, doubled or misplaced token shows."""
EVERY_SECONDS = 3.0


def expected(tokens: int) -> list[int]:
    """The answer to PROMPT."""
    return [PROMPT[k % len(PROMPT)] for k in range(tokens)]


class Stream:
    """One answer of `tokens` tokens, read in a thread of its own as it comes."""

    def __init__(self, url: str, *, model: str, tokens: int) -> None:
        self._url, self._model, self._tokens = url, model, tokens
        self._began = threading.Event()
        self.ids: list[int] = []
        self.ending = "still open"
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def wait_first_token(self) -> None:
        assert self._began.wait(60), f"no token in 60 s: {self.ending}"
        assert self.ids, self.ending

    def assert_whole(self) -> None:
        """It ended as it should, with each token once and in its place."""
        self._thread.join(180)
        came = f"{len(self.ids)} of {self._tokens} tokens came, then: {self.ending}"
        assert (self.ending, len(self.ids)) == ("[DONE]", self._tokens), came
        assert self.ids == expected(self._tokens), f"tokens out of place: {self.ids[:200]}"

    def _run(self) -> None:
        try:
            self._read()
        except (httpx.HTTPError, OSError) as error:
            self.ending = f"{type(error).__name__}: {error}"
        finally:
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
        timeout = httpx.Timeout(120, connect=10)
        url = f"{self._url}/v1/completions"
        with httpx.stream("POST", url, json=body, timeout=timeout, trust_env=False) as reply:
            if reply.status_code != 200:
                self.ending = f"HTTP {reply.status_code}: {reply.read().decode(errors='replace')[:300]}"
                return
            for line in reply.iter_lines():
                data = line.removeprefix("data: ")
                if data == "[DONE]":
                    self.ending = data
                elif data:
                    for choice in json.loads(data)["choices"]:
                        self.ids += choice.get("token_ids") or ()
                    self._began.set()


@contextmanager
def steady_streams(url: str, *, model: str, tokens: int) -> Iterator[Callable[[], list[Stream]]]:
    """A new stream every few seconds as long as the block runs; the value reads those begun so far."""
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
