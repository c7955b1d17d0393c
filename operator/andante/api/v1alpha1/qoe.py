"""Defines spec.qoe: what users expect, and what is promised to them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from andante.api.rules import PATTERN_HINT, Rule, cel_list, list_by, matching, rules
from andante.api.values import APIModel, Duration, Share
from andante.domain.pace import PRESETS, ClientExpectations, QoEClass
from andante.domain.slo.promise import Promise
from andante.engine_config import (
    AS_STREAM,
    CLASS_NAME_PATTERN,
    MAX_PACE,
    MIN_PACE,
    WHOLE,
    QoEClassSettings,
    QoESettings,
)

_PRESET_NAMES = tuple(PRESETS)


class ExpectationClass(APIModel):
    """A class of users. A preset needs only its name; fields that are set replace the preset's values."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                rule=f"self.name in {cel_list(_PRESET_NAMES)} || has(self.deadline)"
                " || (has(self.expectedTTFT) && has(self.pace))",
                message="a class of your own needs expectedTTFT and pace (or a deadline);"
                f" the presets are {', '.join(_PRESET_NAMES)}",
                message_expression="'class ' + self.name + ' is not a preset, so it needs expectedTTFT and pace"
                f" (or a deadline); the presets are {', '.join(_PRESET_NAMES)}'",
            ),
            Rule(
                rule="!has(self.deadline) || !has(self.pace) || self.pace > 0.0",
                message="pace 0 makes a batch class, which has no deadline; remove one of the two",
                field_path=".pace",
            ),
            Rule(
                rule=f"!has(self.pace) || self.pace == 0.0 || self.pace >= {MIN_PACE}",
                message=f"pace must be 0 (batch) or at least {MIN_PACE:g} tokens/s",
                field_path=".pace",
            ),
        )
    )

    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=63,
            json_schema_extra=matching(
                CLASS_NAME_PATTERN, "must be a class name: lower-case letters, digits and '-', at most 63 characters"
            ),
        ),
    ]
    """Name that requests give in the header X-Andante-Class. Presets: reading (TTFT 1s, 4.8 tokens/s),
    reading-fast (1s, 7), voice (500ms, 3.3), chat-interactive (450ms, 25), code (500ms, 25),
    agent (whole answer within 30s), batch (throughput only)."""
    expected_ttft: Annotated[float, Duration(minimum="0s", maximum="1d")] | None = Field(default=None)
    """When the user expects the first visible token, counted from the request's arrival."""
    pace: Annotated[float, Field(ge=0, le=MAX_PACE, allow_inf_nan=False)] | None = None
    """Tokens per second that the user reads or hears, at least 0.01. An English word has about 1.3 tokens. 0: batch,
    never counted in QoE and preempted first."""
    weight: Annotated[float, Field(ge=0.001, le=1000, allow_inf_nan=False)] = 1.0
    """Weight of this class in the scheduler's objective, relative to the others."""
    expected_prefill_rate: Annotated[float, Field(ge=1, le=1_000_000, allow_inf_nan=False)] | None = None
    """Prompt tokens per second: for a long prompt the expected TTFT grows to prompt tokens / this rate."""
    deadline: Annotated[float, Duration(minimum="1ms", maximum="1d")] | None = None
    """For programs (agents): time by which the whole answer must be complete. QoE is 1 in time and 0 late."""

    client_expectations: Literal["Ignore", "Relax", "Allow"] = "Relax"
    """Expectations that clients may set in headers or vllm_xargs. Relax: only less than the class; a higher demand is
    reduced to the class's, so that no client can make the service look bad or scale it up. Ignore: none. Allow: any;
    the deficit beyond the class counts in the objective, but adds no replicas."""

    def to_domain(self) -> QoEClass:
        """The class, with the preset's values where this class sets none; a class with only a deadline uses `agent`."""
        base = PRESETS.get(self.name) or (PRESETS["agent"] if self.deadline is not None else None)
        if base is None and (self.expected_ttft is None or self.pace is None):
            raise ValueError(f"class {self.name!r} is not a preset, so it needs expectedTTFT and pace")
        preset = base or PRESETS["reading"]
        return QoEClass(
            name=self.name,
            expected_ttft=preset.expected_ttft if self.expected_ttft is None else self.expected_ttft,
            pace=preset.pace if self.pace is None else self.pace,
            weight=self.weight,
            expected_prefill_rate=self.expected_prefill_rate or preset.expected_prefill_rate,
            deadline=preset.deadline if self.deadline is None else self.deadline,
            client_expectations=ClientExpectations(self.client_expectations),
        )


class QoEObjective(APIModel):
    """The promise (SLO): this share of requests is good over the window."""

    qoe: Share = 0.95
    """QoE from which a request is good. QoE is 1 when no token came later than the reader needed it."""
    tolerated_delay: Annotated[float, Duration(minimum="0s", maximum="1h")] = 0.2
    """Mean delay that a reader does not notice: a request below it is good with any QoE. 0s switches this off."""
    good_fraction: Share = 0.99
    """Share of requests promised to be good; 1 minus this is the error budget."""
    window: Annotated[float, Duration(minimum="1h", maximum="90d")] = 28 * 86_400.0
    """Window over which the error budget counts."""

    @property
    def promise(self) -> Promise:
        return Promise(good_fraction=self.good_fraction, window=self.window)


class QoE(APIModel):
    """What users expect and what is promised."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                rule="!has(self.defaultClass) || self.classes.exists(c, c.name == self.defaultClass)",
                message="defaultClass must be the name of one of the classes",
                message_expression="'there is no class named ' + self.defaultClass + ' in classes; add it to classes,"
                " or name one that is there'",
                field_path=".defaultClass",
            ),
            Rule(
                rule=f"!has(self.unstreamed) || self.unstreamed in {cel_list((WHOLE, AS_STREAM))}"
                " || self.classes.exists(c, c.name == self.unstreamed)",
                message=f"unstreamed must be {WHOLE}, {AS_STREAM} or the name of one of the classes",
                message_expression=f"'unstreamed must be {WHOLE}, {AS_STREAM} or the name of one of the classes; there"
                " is no class named ' + self.unstreamed",
                field_path=".unstreamed",
            ),
        )
    )

    default_class: (
        Annotated[str, Field(min_length=1, max_length=63, json_schema_extra={PATTERN_HINT: CLASS_NAME_PATTERN})] | None
    ) = None
    """Class of requests that name no class. Default: the first of the classes."""
    classes: Annotated[
        tuple[ExpectationClass, ...], Field(min_length=1, max_length=32, json_schema_extra=list_by("name"))
    ] = (ExpectationClass(name="reading"),)
    """Classes of users that requests may name. A change reaches running engines within two minutes, without a
    restart."""
    unknown_class: Literal["Default", "Refuse"] = "Default"
    """Handling of a request with an unknown class, such as a removed class. Default: the request is served with the
    default class, counted, and its reply has a header that says so. Refuse: the request gets a 400 with the names of
    the classes."""
    unstreamed: Annotated[str, Field(min_length=1, max_length=63)] = WHOLE
    """How to score answers that do not stream. Whole: the answer is due when a stream's last token would be due, as no
    user reads before the end. AsStream: as a stream whose tokens all come at the end; more replicas cannot improve this
    score. A class name: due as a whole, and requests that name no class get this class."""
    gave_up_after: Annotated[float, Duration(minimum="0s", maximum="1h")] = 2.0
    """A client that leaves after a longer wait than this, with nothing left to read, gave up: the QoE is 0, as if the
    server had cut the request. If a client leaves sooner, the request counts with the delivered tokens."""
    objective: QoEObjective = QoEObjective()
    """The promise (SLO): which requests are good, and which share of requests must be good."""

    @property
    def resolved_default_class(self) -> str:
        return self.default_class or self.classes[0].name

    def to_settings(self) -> QoESettings:
        """The content of qoe.yaml. Raises ValueError where classes contradict each other."""
        return QoESettings(
            default_class=self.resolved_default_class,
            classes=tuple(QoEClassSettings.from_domain(c.to_domain()) for c in self.classes),
            objective=self.objective.qoe,
            tolerated_delay_seconds=self.objective.tolerated_delay,
            unknown_class=self.unknown_class,
            unstreamed=self.unstreamed,
            gave_up_after_seconds=self.gave_up_after,
        )
