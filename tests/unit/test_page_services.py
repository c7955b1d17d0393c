"""Each LLMService that a page shows is one that the operator reads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from andante.api.v1alpha1 import LLMService

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHOWN = [
    pytest.param(document, id=f"{page.relative_to(ROOT)}-{number}")
    for page in sorted((*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"))
    for number, block in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")))
    for document in yaml.safe_load_all(block)
    if isinstance(document, dict) and document.get("kind") == "LLMService"
]


@pytest.mark.parametrize("document", SHOWN)
def test_it_is_read(document: dict[str, object]) -> None:
    metadata = {"namespace": "default", "uid": "0", **document["metadata"]}  # type: ignore[dict-item]
    assert LLMService.parse({**document, "metadata": metadata}).name == metadata["name"]


def test_pages_show_some() -> None:
    assert len(SHOWN) >= 3
