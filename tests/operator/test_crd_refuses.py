"""Wrong resources are refused by `kubectl apply`, with the field's path and a sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hack.localcluster.api import ControlPlane

CASES = yaml.safe_load(Path(__file__).with_name("invalid_services.yaml").read_text(encoding="utf-8"))


def merged(base: Any, patch: Any) -> Any:
    if not isinstance(base, Mapping) or not isinstance(patch, Mapping):
        return patch
    both = {**base, **{name: merged(base.get(name), value) for name, value in patch.items()}}
    return {name: value for name, value in both.items() if value is not None}


def test_the_table_is_large_enough() -> None:
    assert len(CASES) >= 60
    assert len({case["why"] for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=[case["why"] for case in CASES])
def test_is_refused(control_plane: ControlPlane, case: Mapping[str, Any]) -> None:
    service = {
        "apiVersion": "andante.dev/v1alpha1",
        "kind": "LLMService",
        "metadata": {"name": case.get("name", "wrong")},
        "spec": merged({"model": {"id": "org/model"}}, case.get("spec", {})),
    }
    answer = control_plane.kubectl("apply", "--dry-run=server", "-f", "-", stdin=json.dumps(service), check=False)
    assert answer.returncode != 0, answer.stdout
    complaints = [line for line in answer.stderr.splitlines() if case["field"] in line]
    assert complaints, answer.stderr
    assert any(case["says"] in line for line in complaints), answer.stderr
