"""Hooks the delivery meter into vLLM's engine client (the API server's side of the engine) in three places.

Only this module depends on `vllm.v1.engine.async_llm.AsyncLLM` of the pinned version: on `generate()`, through which
every endpoint gets its tokens, on `shutdown()`, which starts a drain, and on what its output handler calls for each
message of the engine core. All are wrapped, not replaced. A request that did not come through our middleware passes
unchanged.
"""

from __future__ import annotations

import asyncio
import copy
import functools
import importlib
import threading
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextvars import ContextVar
from http import HTTPStatus
from typing import Any, Final, Protocol

import msgspec
from vllm.exceptions import GracefulHTTPError, VLLMClientError, VLLMValidationError
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.v1.engine.async_llm import AsyncLLM

from andante_vllm import request_args
from andante_vllm.delivery import EngineEnd
from andante_vllm.drain import Drain
from andante_vllm.engine_progress import CoreMessages
from andante_vllm.expectations import BadExpectationError


class EngineRequest(Protocol):
    """The calls of the hook for one HTTP request."""

    def entered_engine(
        self, *, params: SamplingParams, whole: bool, prompt_tokens: int, engine: AsyncLLM
    ) -> dict[str, Any]:
        """Called when the engine gets a prompt; return the additions to the extra arguments of `params`.

        `whole`: the answer does not stream.

        Raises BadExpectationError.
        """
        ...

    def call_began(self, choices: int) -> int:
        """Called when the wait for the first output starts, maybe much later; return the first choice's number."""
        ...

    def found_cached(self, tokens: int) -> None:
        """Called when the number of cached prompt tokens is known."""
        ...

    def call_ended(self, first_choice: int, choices: int) -> None: ...

    def produced(self, choice: int, tokens: int, finished: bool) -> None: ...

    def engine_ended(self, end: EngineEnd) -> None: ...


current_request: ContextVar[EngineRequest | None] = ContextVar("andante_request", default=None)
"""The request of the running task; set by the middleware."""

_HOOKED = "_andante_hooked"
_CUT_SHORT = {"abort": EngineEnd.ABORT, "error": EngineEnd.ERROR}  # finish reasons


class DrainCutError(GracefulHTTPError):
    """The error for a client whose answer the shutdown cut."""

    def __init__(self) -> None:
        super().__init__(
            "The server is shutting down and could not finish this answer.", HTTPStatus.SERVICE_UNAVAILABLE
        )


_DOOR_SECONDS: Final = 5.0
"""Longest wait until the event loop has closed the port: a loop that hangs must not block the end of the process."""
_LAST_LOOK_SECONDS: Final = 0.25
"""Wait after the port is closed, for requests on connections that were accepted just before."""

# One engine client per API server process; vLLM gives the middleware no access to it.
drain = Drain()
messages = CoreMessages()


def install(close_server: Callable[[], None]) -> None:
    """Wrap AsyncLLM once per process; called when the middleware is made.

    `close_server` is called in the event loop when the drain is over, before the engine core ends.
    """
    if getattr(AsyncLLM, _HOOKED, False):
        return
    setattr(AsyncLLM, _HOOKED, True)
    plain_shutdown = AsyncLLM.shutdown

    @functools.wraps(plain_shutdown)
    def shutdown(self: AsyncLLM, timeout: float | None = None) -> Any:
        handler = self.output_handler
        closed = threading.Event()

        def close_now() -> None:
            close_server()
            asyncio.get_running_loop().call_later(_LAST_LOOK_SECONDS, closed.set)

        def ask_to_close() -> None:
            if handler is not None and not handler.get_loop().is_closed():
                handler.get_loop().call_soon_threadsafe(close_now)

        def close_door() -> None:
            ask_to_close()
            closed.wait(_DOOR_SECONDS)

        timeout = drain.begin(timeout, close_door=close_door)
        ask_to_close()  # connections that became idle since, or all connections where there was no time
        result = plain_shutdown(self, timeout=timeout)  # returns when the engine core has ended
        if handler is not None and not handler.get_loop().is_closed():
            # vLLM leaves the requests that it cut, and their clients, waiting until the pod is killed. vLLM calls this
            # from another thread, and the queues belong to the event loop.
            handler.get_loop().call_soon_threadsafe(self.output_processor.propagate_error, DrainCutError())
        return result

    AsyncLLM.generate = metered(AsyncLLM.generate)
    AsyncLLM.shutdown = shutdown
    _note_messages()


def _note_messages() -> None:
    """Note each message of the engine core. Where this vLLM has no such call, a core that hangs is not noticed."""
    processor = getattr(importlib.import_module(AsyncLLM.__module__), "OutputProcessor", None)
    plain = getattr(processor, "update_scheduler_stats", None)
    if processor is None or plain is None:
        return

    @functools.wraps(plain)
    def update_scheduler_stats(self: Any, *args: Any, **kwargs: Any) -> Any:
        messages.heard_at = time.monotonic()
        return plain(self, *args, **kwargs)

    processor.update_scheduler_stats = update_scheduler_stats
    messages.known = True


def metered(plain_generate: Callable[..., AsyncGenerator[Any, None]]) -> Callable[..., AsyncGenerator[Any, None]]:
    """Wrap `AsyncLLM.generate` so that the current request, if any, learns its input and its output."""

    @functools.wraps(plain_generate)
    def generate(self: AsyncLLM, prompt: Any, sampling_params: Any, *args: Any, **kwargs: Any) -> Any:
        request = current_request.get()
        if request is None:
            return plain_generate(self, prompt, sampling_params, *args, **kwargs)
        _check_encodable(sampling_params, kwargs)
        try:
            added = request.entered_engine(
                params=sampling_params,
                whole=sampling_params.output_kind is RequestOutputKind.FINAL_ONLY,
                prompt_tokens=_prompt_tokens(prompt),
                engine=self,
            )
        except BadExpectationError as error:
            # Raised before the reply begins, so vLLM answers 400 in its own error format, also for streams.
            raise VLLMValidationError(str(error), parameter=error.field) from error
        # The caller may use the parameters again (beam search does, for every token), so they are not changed. A
        # shallow copy is enough: one field is replaced, and vLLM copies the rest.
        params = copy.copy(sampling_params)
        choices = {request_args.CHOICES: params.n} if params.n > 1 else {}
        params.extra_args = {**(sampling_params.extra_args or {}), **added, **choices}
        return _observe(plain_generate(self, prompt, params, *args, **kwargs), request, params.n)

    return generate


async def _observe(
    outputs: AsyncGenerator[Any, None], request: EngineRequest, choices: int
) -> AsyncGenerator[Any, None]:
    """Pass vLLM's RequestOutputs on unchanged, and count their tokens."""
    produced = request.produced
    first_choice = request.call_began(choices)
    unfinished = choices
    cached: int | None = None
    try:
        async for output in outputs:
            if cached is None:
                cached = output.num_cached_tokens or 0
                request.found_cached(cached)
            for completion in output.outputs:
                # Streams give deltas and other replies one final output, so the lengths can be added.
                reason = completion.finish_reason
                produced(first_choice + completion.index, len(completion.token_ids), reason is not None)
                if reason is not None:
                    if reason in _CUT_SHORT:
                        request.engine_ended(_CUT_SHORT[reason])
                    unfinished -= 1
                    if not unfinished:  # now: a caller that has the last output may never close the generator
                        request.call_ended(first_choice, choices)
            yield output
    except (asyncio.CancelledError, GeneratorExit):
        raise
    except DrainCutError:
        request.engine_ended(EngineEnd.DRAIN)
        raise
    except GracefulHTTPError as error:
        request.engine_ended(EngineEnd.REJECTION if error.http_status in (429, 503) else EngineEnd.ERROR)
        raise
    except VLLMClientError:
        request.engine_ended(EngineEnd.CLIENT_ERROR)
        raise
    except Exception:
        request.engine_ended(EngineEnd.ERROR)
        raise
    finally:
        if unfinished > 0:
            request.call_ended(first_choice, choices)
        # A close of the outer generator does not close the inner one: without this an abandoned request runs on.
        await outputs.aclose()


# vLLM itself encodes types that this encoder does not know (tensors, pictures); all others are encoded the same way.
_encoder: Final = msgspec.msgpack.Encoder(enc_hook=lambda value: None)


def _check_encodable(params: SamplingParams, named: Mapping[str, Any]) -> None:
    """Raise VLLMValidationError where a value of the request cannot be sent to the engine's process.

    vLLM finds this error only after it has noted the request as open. It then answers 500 and keeps the note, so these
    requests would fill vLLM's memory and its admission limits.
    """
    try:
        _encoder.encode((params, named.get("priority"), named.get("data_parallel_rank")))
    except (OverflowError, ValueError) as error:  # a UnicodeEncodeError is a ValueError
        raise VLLMValidationError(f"a value of the request cannot be handed to the engine: {error}") from error


def _prompt_tokens(prompt: Any) -> int:
    token_ids = (
        prompt.get("prompt_token_ids") if isinstance(prompt, Mapping) else getattr(prompt, "prompt_token_ids", ())
    )
    return len(token_ids or ())
