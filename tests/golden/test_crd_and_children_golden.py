"""No generated file drifts from the models: the CRD, the reference page, the children of every example."""

from __future__ import annotations

from pathlib import Path

import pytest
from hack.generate import GOLDEN_CHILDREN, ROOT, outputs

OUTPUTS = outputs()


@pytest.mark.parametrize("path", OUTPUTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_file_is_what_the_models_say(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == OUTPUTS[path], "run `make generate` and look at the difference"


def test_no_golden_file_outlives_its_example() -> None:
    assert set(GOLDEN_CHILDREN.glob("*.yaml")) <= set(OUTPUTS)
