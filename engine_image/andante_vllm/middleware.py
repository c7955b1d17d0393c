"""Implements the delivery meter: ASGI middleware in vLLM's API server that times every token's delivery to the client.

vLLM loads the middleware by `--middleware` as the outermost layer, so it sees exactly the bytes that the connection
gets. Bodies pass through unchanged, except for comments in long silence. Tokens are counted where vLLM's engine client
returns them (`engine_client_hooks`), and timed when the `send` that carries them returns. At /metrics the gauges of
open requests are updated first. An exception that vLLM's own handlers did not catch ends here.
"""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, Final

from vllm.logger import init_logger

from andante.domain.answer_length import AnswerLengths
from andante.domain.deficit_cause import DeficitByCause
from andante.domain.request_meter import Outcome
from andante_vllm import engine_client_hooks as hooks
from andante_vllm import engine_demand, web_server
from andante_vllm.body_checks import bound_errors
from andante_vllm.chosen_metrics import chosen_metrics, chosen_names, send_text
from andante_vllm.company import Company
from andante_vllm.drain import Announcement, announcement_file
from andante_vllm.engine_progress import EngineProgress
from andante_vllm.expectations import BadExpectationError, QoEClasses, from_headers
from andante_vllm.idle_step_time import IdleStepTime, metric_files, start_values
from andante_vllm.live_settings import LiveQoESettings
from andante_vllm.meter_metrics import MeterMetrics
from andante_vllm.metered_request import MeteredRequest
from andante_vllm.open_requests import RequestsInFlight
from andante_vllm.replies import Message, Reply, Send
from andante_vllm.reply_forms import FORMS
from andante_vllm.request_body import Receive, RequestBody
from andante_vllm.settings import engine_config_path, qoe_settings_path, read_engine_config
from andante_vllm.turns import Turns

if TYPE_CHECKING:
    from andante_vllm.connection import Connection

logger = init_logger("vllm.andante.meter")
# Now, while vLLM imports this module: vLLM makes the middleware only after it has configured its web server.
web_server.install(log_warning=logger.warning, is_draining=lambda: hooks.drain.draining)

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# On these paths a refusal counts, as a user got no answer. On others a request counts only if it reached the engine.
_COUNTED_PATHS: Final = frozenset({"/v1/completions", "/v1/chat/completions", "/v1/responses", "/v1/messages"})
# The code in which vLLM's endpoints read and check a body: module, and function if the module does other work too.
_BODY_CHECKS: Final = frozenset({"fastapi.dependencies.utils", "pydantic.type_adapter", "starlette.requests.json"})
_METRICS_PATHS: Final = frozenset({"/metrics", "/metrics/"})
_HEALTH_PATH: Final = "/health"
_HANGS: Final = "The engine has made no step for some time and is started again; try again."


class DeliveryMeter:
    """The ASGI middleware; one per API server process."""

    def __init__(self, app: App) -> None:
        hooks.install(self._close_server)
        self._app = app
        self._server: Any = None
        self._turns = Turns()
        self._errors_are_bounded = False
        config_path = engine_config_path()
        self._settings = LiveQoESettings(qoe_settings_path(config_path), log_error=logger.error, log_info=logger.info)
        self._settings_version = self._settings.version
        self._classes = QoEClasses(self._settings.current())
        config = read_engine_config(config_path)
        self._announcement = Announcement(announcement_file(config.port))
        self._limits = config.http
        self._metrics = MeterMetrics(model_name=config.model.served_name, objective=self._classes.objective)
        self._step_time = IdleStepTime(
            start=start_values(config), folder=metric_files(), monotonic=time.monotonic, log_error=logger.warning
        )
        web_server.count_ends(self._metrics.connection_ended)
        self._in_flight = RequestsInFlight(report=self._metrics.set_open, monotonic=time.monotonic)
        self._lengths = AnswerLengths()
        self._company = Company()
        self._client: Any = None
        self._progress = EngineProgress(
            hooks.messages, self._company, patience=config.hang_timeout_seconds, monotonic=time.monotonic
        )
        self._known_classes: set[str] = set()
        self._show(self._classes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._errors_are_bounded and "app" in scope:  # at the start: the first call is not a request
            self._errors_are_bounded = True
            bound_errors(scope["app"].routes, log_warning=logger.warning)
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._server is None and "app" in scope:
            # vLLM stores both in its app's state, after it has made the middleware.
            self._server = getattr(scope["app"].state, "server", None)
            self._client = getattr(scope["app"].state, "engine_client", None)
        connection = web_server.connection_of(scope)
        reply = Reply(
            send,
            closes=lambda: self._ends(connection),
            comment_after=self._limits.comment_after_silence_seconds
            if connection is not None and scope["method"] != "HEAD"
            else 0.0,
            flows=lambda: connection is not None and not connection.flow.write_paused,
            count_end=self._metrics.connection_ended,
        )
        try:
            if scope["method"] == "POST":
                await self._meter(scope, receive, reply, connection)
            elif scope["path"] == _HEALTH_PATH and self._hangs():
                await reply.refuse(503, "ServiceUnavailableError", _HANGS)
            else:
                names: frozenset[str] = frozenset()
                if scope["path"] in _METRICS_PATHS:
                    self._refresh_gauges()
                    names = chosen_names(scope["query_string"])
                if names and (folder := metric_files()) is not None:
                    await send_text(reply.send, chosen_metrics(folder, names))
                else:
                    await self._app(scope, receive, reply.send)
        except Exception:
            if reply.refused:
                return  # the application cannot go on without the body
            if reply.broken:
                raise  # the server logs the error and cuts the connection, so the client sees an incomplete reply
            logger.exception("%s %r failed", scope["method"], scope["path"])
            if not reply.began:
                await reply.refuse(500, "InternalServerError", "The server failed to answer; its log says why.")
        finally:
            reply.end()

    def _ends(self, connection: Connection | None) -> bool:
        """Whether the reply that begins now is the last of its connection."""
        if hooks.drain.draining or self._announcement.made():
            reason = "drain"
        elif connection is not None and connection.age.reached(
            self._limits.connection_age_seconds, at=time.monotonic()
        ):
            reason = "age"
        else:
            return False
        self._metrics.connection_ended(reason)
        return True

    def _hangs(self) -> bool:
        """Whether the engine core hangs. Logs when that begins and when it ends."""
        hangs, turned = self._progress.hangs(self._client), self._progress.turned(self._client)
        if turned is not None:
            (logger.error if hangs else logger.warning)("%s", turned)
        return hangs

    def _close_server(self) -> None:
        if self._server is not None:
            web_server.close_to_newcomers(self._server)

    async def _meter(self, scope: Scope, receive: Receive, reply: Reply, connection: Connection | None) -> None:
        body = RequestBody(
            receive,
            reply,
            max_bytes=self._limits.max_body_bytes(scope["path"]),
            max_values=self._limits.max_body_values,
            weight_factor=self._limits.weight_factor(scope["path"]),
            seconds=self._limits.body_timeout_seconds,
        )
        if await body.refused(scope["headers"]):
            return
        classes = self._current_classes()
        try:
            request = _HTTPRequest(
                said=from_headers(scope["headers"]),
                classes=classes,
                arrived_at=time.monotonic(),
                received_at=time.time(),
                counts=scope["path"] in _COUNTED_PATHS,
                on_engine=self._in_flight.add,
                on_arrival=self._metrics.arrived,
                lengths=self._lengths,
                company=self._company,
                path=scope["path"],
                step_time=self._step_time,
            )
        except BadExpectationError as error:
            await reply.refuse(400, "BadRequestError", str(error), field=error.field)
            return
        reply.watch(request)

        async def receive_and_watch() -> Message:
            message = await body.receive()
            if message["type"] == "http.disconnect":
                request.client_left()
            elif not message.get("more_body", False):
                request.body_received(at=time.monotonic(), unix_time=time.time())
                await body.wait_turn(self._turns)
            return message

        token = hooks.current_request.set(request)
        try:
            # Only requests for tokens may prolong the drain.
            counts = scope["path"] in _COUNTED_PATHS
            with hooks.drain.answering() if counts else contextlib.nullcontext(not hooks.drain.stopping) as in_time:
                if in_time and counts and self._progress.hangs(self._client):
                    # The client keeps its connection to a replica that is not ready any more, and would wait here.
                    await reply.refuse(503, "ServiceUnavailableError", _HANGS)
                elif in_time:
                    await self._app(scope, receive_and_watch, reply.send)
                else:
                    # The engine would give an empty answer. With this refusal the client can ask another replica.
                    await reply.refuse(503, "ServiceUnavailableError", "The server is shutting down; try again.")
        except Exception as error:
            if reply.began or not _is_about_the_body(error):
                raise
            await reply.refuse(400, "BadRequestError", f"The request's body cannot be read: {error}")
        finally:
            hooks.current_request.reset(token)
            self._ended(request, at=reply.taken_at if connection is not None and connection.ended_unread else None)

    def _ended(self, request: MeteredRequest, *, at: float | None) -> None:
        """Count the request with its state at `at` (None: now): if a client does not read, this is not our delay."""
        self._in_flight.discard(request)
        at = time.monotonic() if at is None else at
        outcome = request.ended(at=at, draining=hooks.drain.draining)
        if outcome is None:
            return
        score = request.score_ended(outcome, at)
        idle = self._step_time.current()
        causes, idle_reason = request.causes(score, outcome, at, idle=idle)
        if self._progress.is_doubtful(self._client):
            causes, idle_reason = DeficitByCause(failed=causes.total), None
        if outcome is Outcome.COMPLETED:
            self._lengths.learn(request.qoe_class.name, score.tokens)
        self._metrics.ended(
            request.qoe_class.name,
            outcome,
            score,
            causes=causes,
            idle_reason=idle_reason,
            unavoidable_penalty=request.unavoidable_penalty(score, outcome, at, idle=idle),
            effect=request.effect,
            unknown_class=request.unknown_class,
            prompt_tokens=request.prompt_tokens,
            hidden_tokens=request.hidden_tokens,
        )

    def _current_classes(self) -> QoEClasses:
        settings = self._settings.current()
        if self._settings.version != self._settings_version:
            self._settings_version = self._settings.version
            self._classes = QoEClasses(settings)
            self._metrics.use_objective(self._classes.objective)
            self._show(self._classes)
        return self._classes

    def _show(self, classes: QoEClasses) -> None:
        """Make the counters of all classes appear at 0, so that a first request shows as an increase."""
        self._known_classes |= classes.names
        for name in classes.names:
            self._metrics.show_class(name)

    def _refresh_gauges(self) -> None:
        self._current_classes()
        self._in_flight.report(
            self._known_classes, idle=self._step_time.current(), hung=self._progress.is_doubtful(self._client)
        )
        self._metrics.set_engine_silence(self._progress.silent_seconds(self._client))
        self._metrics.set_step_time_fitted(self._step_time.fitted)
        self._metrics.set_settings_valid(self._settings.valid)
        self._metrics.set_demand(engine_demand.waiting(self._client), engine_demand.limits(self._client))


def _is_about_the_body(error: BaseException) -> bool:
    """Whether the error was raised in a body check: vLLM's checks assume that each field has the right form."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        module = frame.f_globals.get("__name__", "")
        if module in _BODY_CHECKS or f"{module}.{frame.f_code.co_name}" in _BODY_CHECKS:
            return True
    return False


class _HTTPRequest(MeteredRequest):
    """A metered request, for the engine client's hook."""

    def __init__(self, *, path: str, step_time: IdleStepTime, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._path = path
        self._step_time = step_time

    def entered_engine(self, *, params: Any, whole: bool, prompt_tokens: int, engine: Any) -> dict[str, Any]:
        def count_tokens(text: str) -> int:
            return len(engine.renderer.tokenizer.encode(text, add_special_tokens=False))

        self._step_time.use_chunk(engine.vllm_config.scheduler_config.max_num_batched_tokens)
        return self.enters_engine(
            extra_args=params.extra_args or {},
            prompt_tokens=prompt_tokens,
            whole=whole,
            longest=params.max_tokens,
            form=FORMS.get(self._path) if engine.vllm_config.structured_outputs_config.reasoning_parser else None,
            count_tokens=count_tokens,
        )
