"""Whatever the API server admits, the models read and the children are made of: no resource can crash the operator.

Resources are drawn from the CRD's own schema, so that most get past it, and then meet the rules.
"""

from __future__ import annotations

import json
import math
import ssl
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest
from hack.localcluster.api import ControlPlane
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from andante.api.v1alpha1 import LLMService
from andante.api.values import DURATION_PATTERN
from andante.app.children import POD_MONITOR, PodTemplateError, render
from andante.app.settings import OperatorSettings
from andante.domain.pace import PRESETS
from andante.engine_config import CLASS_NAME_PATTERN, OWNED_FLAGS, check_extra_arg
from andante.generate.crd import spec_schema

SERVICES = "/apis/andante.dev/v1alpha1/namespaces/default/llmservices?dryRun=All&fieldValidation=Strict"
SETTINGS = OperatorSettings(engine_image="e:1", operator_image="o:1")
MODEL = {"id": "org/model"}


@pytest.fixture(scope="module")
def api(control_plane: ControlPlane) -> Iterator[httpx.Client]:
    context = ssl.create_default_context(cafile=str(control_plane.ca))
    headers = {"Authorization": f"Bearer {control_plane.token}"}
    with httpx.Client(base_url=control_plane.server, verify=context, headers=headers, timeout=60) as client:
        yield client


FREE_OBJECTS = st.dictionaries(st.sampled_from(["name", "x", "$patch"]), st.none() | st.text(max_size=3) | st.just({}))


LIKELY: Mapping[str, list[str]] = {
    DURATION_PATTERN: ["1s", "90s", "2000ms", "60m", "24h", "1d"],
    CLASS_NAME_PATTERN: list(PRESETS),
}
"""Texts that rules let pass more often than what their regular expressions yield."""


def _values(node: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Values of a structural schema; strings also from the regular expressions behind their rules."""
    if node.get("x-kubernetes-int-or-string"):
        return st.integers(0, 9) | st.from_regex(node["pattern"], fullmatch=True)
    if "enum" in node:
        return st.sampled_from(node["enum"])
    kind = node["type"]
    if kind == "boolean":
        return st.booleans()
    if kind == "string":
        text = st.from_regex(node["pattern"], fullmatch=True) if "pattern" in node else st.text(max_size=20)
        likely = LIKELY.get(node.get("pattern", ""))
        if likely is not None:
            rare = text
            text = st.integers(0, 4).flatmap(lambda die: rare if die == 0 else st.sampled_from(likely))
        return text.filter(lambda value: node.get("minLength", 0) <= len(value) <= node.get("maxLength", 300))
    if kind == "number" and "minimum" not in node:
        # A share, or a bound that is a rule.
        return st.integers(0, 9).flatmap(lambda die: st.floats(-1, 2) if die == 0 else st.floats(0.001, 0.999))
    if kind in ("integer", "number"):
        low, high = node.get("minimum", -5), node.get("maximum", 10**9)
        whole = st.integers(math.ceil(low), math.floor(high)) | st.integers(math.ceil(low), math.ceil(low) + 9)
        return whole | st.floats(low, high) | st.floats(max(low, 0.01), max(low, 0.99)) if kind == "number" else whole
    if kind == "array":
        return st.lists(_values(node["items"]), min_size=node.get("minItems", 0), max_size=2)
    if "additionalProperties" in node:
        return st.dictionaries(st.sampled_from(["cpu", "memory", "a.b/c"]), _values(node["additionalProperties"]))
    if not node.get("properties"):
        return FREE_OBJECTS if node.get("x-kubernetes-preserve-unknown-fields") else st.just({})
    required = {name: _values(node["properties"][name]) for name in node.get("required", [])}
    optional = {name: _values(child) for name, child in node["properties"].items() if name not in required}
    # Few fields at a time: rules over combinations would refuse nearly everything else.
    chosen = st.sets(st.sampled_from(sorted(optional)), max_size=2) if optional else st.just(set())
    return chosen.flatmap(lambda names: st.fixed_dictionaries(required | {name: optional[name] for name in names}))


SECTIONS = {name: _values(child) for name, child in spec_schema(hints=True)["properties"].items()}


def _admitted(api: httpx.Client, spec: Mapping[str, Any]) -> dict[str, Any] | None:
    body = {"apiVersion": "andante.dev/v1alpha1", "kind": "LLMService", "metadata": {"name": "x"}, "spec": spec}
    answer = api.post(SERVICES, content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert answer.status_code in (201, 400, 422), answer.text
    return answer.json() if answer.is_success else None


def _use(stored: Mapping[str, Any]) -> None:
    service = LLMService.parse(stored)
    try:
        render(service, settings=SETTINGS, replicas=1, installed_crds=[POD_MONITOR.crd])
    except PodTemplateError:
        return  # a condition says so; anything else would be a crash


@pytest.mark.parametrize("section", sorted(SECTIONS))
def test_what_is_admitted_can_be_read_and_rendered(api: httpx.Client, section: str) -> None:
    seen: Counter[bool] = Counter()

    @settings(max_examples=150, suppress_health_check=list(HealthCheck))
    @given(value=SECTIONS[section])
    def fuzz(value: Any) -> None:
        stored = _admitted(api, {"model": MODEL, section: value})
        seen[stored is not None] += 1
        if stored is not None:
            _use(stored)

    fuzz()
    assert seen[True] >= 20, f"too few of the drawn resources were admitted to show anything: {seen}"


def _flag(owned: str, cut: int, tail: str, underscores: bool) -> str:
    flag = owned[: len(owned) - cut]
    return (flag.replace("-", "_") if underscores else flag) + tail


FLAGS = st.builds(
    _flag,
    st.sampled_from(sorted(OWNED_FLAGS)),
    st.integers(0, 12),
    st.sampled_from(["", "=1", "=--port", "x", "-y"]),
    st.booleans(),
).filter(bool)


@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(argument=FLAGS)
def test_the_rule_over_extra_arguments_is_the_engines_own_check(api: httpx.Client, argument: str) -> None:
    try:
        check_extra_arg(argument)
    except ValueError:
        allowed = False
    else:
        allowed = True
    assert (_admitted(api, {"model": MODEL, "engine": {"extraArgs": [argument]}}) is not None) == allowed
