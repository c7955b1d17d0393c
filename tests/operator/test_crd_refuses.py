"""Wrong resources are refused by `kubectl apply`, with the field's path and a sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hack.localcluster.api import ControlPlane

CASES: list[dict[str, Any]] = yaml.safe_load(
    Path(__file__).with_name("invalid_services.yaml").read_text(encoding="utf-8")
)
CASES += [
    {
        "why": "annotations without end",
        "spec": {"engine": {"podTemplate": {"metadata": {"annotations": {f"a{i}": "x" * 16_384 for i in range(5)}}}}},
        "field": "spec.engine.podTemplate.metadata.annotations",
        "says": "hold more than 65536 characters together",
    },
    {
        "why": "variables without end",
        "spec": {"engine": {"env": [{"name": f"V{i}", "value": "x" * 8192} for i in range(9)]}},
        "field": "spec.engine.env",
        "says": "hold more than 65536 characters together",
    },
]


def merged(base: Any, patch: Any) -> Any:
    if not isinstance(base, Mapping) or not isinstance(patch, Mapping):
        return patch
    both = {**base, **{name: merged(base.get(name), value) for name, value in patch.items()}}
    return {name: value for name, value in both.items() if value is not None}


@pytest.fixture(scope="module")
def answers(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What kubectl says of each case, by why it is wrong; one kubectl for all, a process for each costs a minute."""
    folder = tmp_path_factory.mktemp("invalid")
    known: dict[str, str] = {}
    for number, case in enumerate(CASES):
        name, path = case.get("name", f"case-{number}"), folder / f"{number}.json"
        known[name] = known[str(path)] = case["why"]
        service = {
            "apiVersion": "andante.dev/v1alpha1",
            "kind": "LLMService",
            "metadata": {"name": name},
            "spec": merged({"model": {"id": "org/model"}}, case.get("spec", {})),
        }
        path.write_text(json.dumps(service))
    done = control_plane.kubectl("apply", "--dry-run=server", "-f", str(folder), check=False)
    # A refusal names the object; where the server could not even read that, the file.
    refusals = re.split(r"^(?=The LLMService |Error from server)", done.stderr, flags=re.MULTILINE)
    found = {quoted: refusal for refusal in refusals for quoted in re.findall(r'"(.+?)"', refusal.partition("\n")[0])}
    return {known[key]: refusal for key, refusal in found.items() if key in known}


def test_the_table_is_large_enough() -> None:
    assert len(CASES) >= 60
    assert len({case["why"] for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=[case["why"] for case in CASES])
def test_is_refused(answers: Mapping[str, str], case: Mapping[str, Any]) -> None:
    answer = answers.get(case["why"], "it was admitted")
    complaints = [line for line in answer.splitlines() if case["field"] in line]
    assert complaints, answer
    assert any(case["says"] in line for line in complaints), answer
