"""Reads and checks the expectations that a client sends: headers and `vllm_xargs`.

Pure: no vLLM, no clock. The network is hostile, so every value has a type, a range and a length. A bad value is named
and refused with a 400, never silently replaced by a default.
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from andante.domain.pace import Expectation, QoEClass
from andante.domain.request_meter import Objective
from andante.engine_config import AS_STREAM, MAX_PACE, MAX_SECONDS, MIN_PACE, QoESettings
from andante_vllm import request_args

CLASS_HEADER: Final = "X-Andante-Class"
EXPECTED_TTFT_HEADER: Final = "X-Andante-Expected-TTFT"
PACE_HEADER: Final = "X-Andante-Pace"
UNKNOWN_CLASS_HEADER: Final = "X-Andante-Unknown-Class"
"""Reply header: the class that the request named does not exist."""
MAX_TEXT: Final = 64

_HEADERS: Final[Mapping[bytes, str]] = {
    name.lower().encode(): name for name in (CLASS_HEADER, EXPECTED_TTFT_HEADER, PACE_HEADER)
}
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?|[+-]?\.\d+([eE][+-]?\d+)?")


class BadExpectationError(ValueError):
    """A client's expectation is refused."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        """The header or body field that is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientExpectation:
    """The checked expectations of a client; None: not set."""

    qoe_class: str | None = None
    expected_ttft: float | None = None
    """Seconds."""
    pace: float | None = None
    """Tokens per second."""

    def over(self, other: ClientExpectation) -> ClientExpectation:
        """This expectation, with the values of `other` where this one has none."""
        return ClientExpectation(
            qoe_class=self.qoe_class if self.qoe_class is not None else other.qoe_class,
            expected_ttft=self.expected_ttft if self.expected_ttft is not None else other.expected_ttft,
            pace=self.pace if self.pace is not None else other.pace,
        )


class Effect(enum.StrEnum):
    """How a client's own expectations were used."""

    TAKEN = "taken"
    """The request is measured by the client's expectations."""
    LIMITED = "limited"
    """The request is measured by the client's expectations, reduced to the class's limits."""
    IGNORED = "ignored"
    """The request is measured only by the class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedExpectation:
    """The class and the expectation that a request is measured by."""

    qoe_class: QoEClass
    expectation: Expectation
    of_class: Expectation
    """The class's expectation of this request, without the client's."""
    unknown_class: bool
    """Whether the client named an unknown class."""
    effect: Effect | None
    """How the client's own expectations were used; None: the client sent none."""

    @property
    def beyond_class(self) -> bool:
        """Whether the request is measured by a higher expectation than the class's."""
        own, usual = self.expectation, self.of_class
        return own.expected_ttft < usual.expected_ttft or own.pace > usual.pace


NOTHING_SAID: Final = ClientExpectation()


def from_headers(headers: Iterable[tuple[bytes, bytes]]) -> ClientExpectation:
    """Read the `X-Andante-*` headers (ASGI form: lower-case names). Raises BadExpectationError naming the header."""
    found: dict[str, str] = {}
    for raw_name, raw_value in headers:
        if not raw_name.startswith(b"x-andante-"):
            continue
        name = _HEADERS.get(raw_name)
        if name is None:
            raise BadExpectationError(_shorten(raw_name.decode("latin-1")), f"no such header; there are {_known()}")
        if name in found:
            raise BadExpectationError(name, "must be given once")
        found[name] = raw_value.decode("latin-1").strip()
    if not found:
        return NOTHING_SAID
    qoe_class, ttft, pace = (found.get(name) for name in (CLASS_HEADER, EXPECTED_TTFT_HEADER, PACE_HEADER))
    return ClientExpectation(
        qoe_class=None if qoe_class is None else _class_name(CLASS_HEADER, qoe_class),
        expected_ttft=None if ttft is None else _seconds(EXPECTED_TTFT_HEADER, _number(EXPECTED_TTFT_HEADER, ttft)),
        pace=None if pace is None else _pace(PACE_HEADER, _number(PACE_HEADER, pace)),
    )


def from_body(vllm_xargs: Mapping[str, Any]) -> ClientExpectation:
    """Read our keys of a body's `vllm_xargs`. Raises BadExpectationError naming the field."""
    values: dict[str, Any] = {}
    for key, value in vllm_xargs.items():
        if key.startswith(request_args.PREFIX):
            if key not in request_args.CLIENT_KEYS:
                known = ", ".join(sorted(request_args.CLIENT_KEYS))
                raise BadExpectationError(_field(_shorten(key)), f"no such argument; there are {known}")
            values[key] = value
    if not values:
        return NOTHING_SAID
    qoe_class = values.get(request_args.CLASS)
    if request_args.CLASS in values and not isinstance(qoe_class, str):
        raise BadExpectationError(_field(request_args.CLASS), f"must be text, got {_kind(qoe_class)}")
    return ClientExpectation(
        qoe_class=None if qoe_class is None else _class_name(_field(request_args.CLASS), qoe_class),
        expected_ttft=_body_number(values, request_args.EXPECTED_TTFT, _seconds),
        pace=_body_number(values, request_args.PACE, _pace),
    )


class QoEClasses:
    """The classes of one version of the settings, prepared for a lookup by every request."""

    __slots__ = ("_by_name", "_default", "_refuses_unknown", "_unstreamed", "objective", "whole_is_due_whole")

    def __init__(self, settings: QoESettings) -> None:
        self._by_name = {entry.name: entry.to_domain() for entry in settings.classes}
        self._default = self._by_name[settings.default_class]
        self._refuses_unknown = settings.unknown_class == "Refuse"
        self._unstreamed = self._by_name.get(settings.unstreamed, self._default)
        self.whole_is_due_whole = settings.unstreamed != AS_STREAM
        """Whether an answer that does not stream is due as a whole."""
        self.objective = Objective(
            qoe=settings.objective,
            tolerated_delay=settings.tolerated_delay_seconds,
            gave_up_after=settings.gave_up_after_seconds,
        )
        """What makes a request good."""

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._by_name)

    def of(self, name: str | None, *, field: str, whole: bool = False) -> QoEClass:
        """The class named `name`; without a name the default class, of answers that come `whole` or of streams.

        `field`: the source of the name. Raises BadExpectationError for an unknown class, if the settings refuse it.
        """
        found = None if name is None else self._by_name.get(name)
        if found is not None:
            return found
        if name is not None and self._refuses_unknown:
            raise BadExpectationError(field, f"no class named {name!r}; there are: {', '.join(self._by_name)}")
        return self._unstreamed if whole else self._default

    def resolve(
        self, said: ClientExpectation, *, prompt_tokens: int, field: str, whole: bool = False
    ) -> ResolvedExpectation:
        """The class and the expectation of a request with `prompt_tokens` prompt tokens; raises as `of` does."""
        qoe_class = self.of(said.qoe_class, field=field, whole=whole)
        own = usual = qoe_class.expectation(prompt_tokens)
        effect = None
        if said.expected_ttft is not None or said.pace is not None:
            own = qoe_class.expectation_of_client(usual, ttft=said.expected_ttft, pace=said.pace)
            taken = said.expected_ttft in (None, own.expected_ttft) and said.pace in (None, own.pace)
            effect = Effect.TAKEN if taken else Effect.IGNORED if own == usual else Effect.LIMITED
        return ResolvedExpectation(
            qoe_class=qoe_class,
            expectation=own,
            of_class=usual,
            unknown_class=said.qoe_class is not None and said.qoe_class != qoe_class.name,
            effect=effect,
        )


def scheduler_arguments(
    resolved: ResolvedExpectation, said: ClientExpectation, *, received_at: float
) -> dict[str, Any]:
    """The keys of `request_args` for the scheduler; `received_at` is Unix time in seconds.

    The values that count always replace the client's own values.
    """
    arguments: dict[str, Any] = {
        request_args.CLASS: resolved.qoe_class.name,
        request_args.RECEIVED_AT: received_at,
    }
    if said.expected_ttft is not None:
        arguments[request_args.EXPECTED_TTFT] = resolved.expectation.expected_ttft
    if said.pace is not None:
        arguments[request_args.PACE] = resolved.expectation.pace  # the scheduler ignores the 0 of a batch class
    return arguments


def arguments_expectation(arguments: Mapping[str, Any], qoe_class: QoEClass, *, prompt_tokens: int) -> Expectation:
    """The expectation from the keys of `request_args`, for the scheduler; the class's where a key has no valid value.

    A request may reach the engine without the middleware, so any value may come here. The class's limits for clients
    are checked again.
    """
    usual = qoe_class.expectation(prompt_tokens)
    ttft = _usable(arguments, request_args.EXPECTED_TTFT, _seconds)
    pace = _usable(arguments, request_args.PACE, _pace)
    if ttft is None and pace is None:
        return usual
    return qoe_class.expectation_of_client(usual, ttft=ttft, pace=pace)


def arguments_arrival(arguments: Mapping[str, Any], *, now: float, otherwise: float) -> float:
    """When the request was received, Unix time: the middleware's value, but not later than `now`.

    `otherwise` where there is no value, or an impossible one: a day ago or more.
    """
    value = arguments.get(request_args.RECEIVED_AT)
    if isinstance(value, bool) or not isinstance(value, int | float) or not now - MAX_SECONDS < value < math.inf:
        return otherwise
    return float(min(value, now))


def class_field(headers: ClientExpectation) -> str:
    """The field that named the class: the header if set, else the body's field."""
    return CLASS_HEADER if headers.qoe_class is not None else _field(request_args.CLASS)


def _known() -> str:
    return ", ".join(_HEADERS.values())


def _field(key: str) -> str:
    return f"vllm_xargs.{key}"


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "…"


def _kind(value: object) -> str:
    return type(value).__name__


def _class_name(field: str, value: str) -> str:
    if not value or len(value) > MAX_TEXT:
        raise BadExpectationError(field, f"must be 1 to {MAX_TEXT} characters, got {len(value)}")
    return value


def _number(field: str, text: str) -> float:
    if len(text) > MAX_TEXT:
        raise BadExpectationError(field, f"must be a number of at most {MAX_TEXT} characters, got {len(text)}")
    if not _NUMBER.fullmatch(text):
        raise BadExpectationError(field, f"must be a number, got {text!r}")
    return float(text)


def _body_number(values: Mapping[str, Any], key: str, check: Any) -> float | None:
    if key not in values:
        return None
    value = values[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadExpectationError(_field(key), f"must be a number, got {_kind(value)}")
    try:
        return float(check(_field(key), float(value)))
    except OverflowError as error:
        raise BadExpectationError(_field(key), "is too large") from error


def _usable(arguments: Mapping[str, Any], key: str, check: Any) -> float | None:
    try:
        return _body_number(arguments, key, check)
    except BadExpectationError:
        return None


def _seconds(field: str, value: float) -> float:
    if not 0 <= value <= MAX_SECONDS:
        raise BadExpectationError(field, f"must be seconds from 0 to {MAX_SECONDS:g}, got {value:g}")
    return value


def _pace(field: str, value: float) -> float:
    if not MIN_PACE <= value <= MAX_PACE:
        raise BadExpectationError(field, f"must be tokens/s from {MIN_PACE:g} to {MAX_PACE:g}, got {value:g}")
    return value
