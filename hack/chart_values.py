"""Writes docs/reference/chart-values.md from the operator chart's values.yaml and values.schema.json.

python -m hack.chart_values          # writes the page; `make golden` calls it, a test compares
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "charts" / "andante-operator"
PAGE = ROOT / "docs" / "reference" / "chart-values.md"

_HEAD = """\
# Values of the chart

<!-- Generated from charts/andante-operator by `make golden`; a test compares. Do not edit. -->

`global.…` is at the top of the values: `--set global.imageRegistry=HOST/PATH`. All other values are below
`andante-operator`: `--set andante-operator.tickSeconds=5`. A name that is not in this table is refused.

| value | type | default | meaning |
|---|---|---|---|
"""


def page() -> str:
    """The page's text."""
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    return _HEAD + "".join(f"{row}\n" for name in values for row in _rows(schema["properties"][name], values, name))


def _rows(node: dict[str, Any], values: dict[str, Any], path: str) -> Iterator[str]:
    default = values.get(path.rsplit(".", 1)[-1])
    inner = node.get("properties", {})
    if inner and isinstance(default, dict) and set(default) == set(inner):
        for name, child in inner.items():
            yield from _rows(child, default, f"{path}.{name}")
    else:
        yield f"| `{path}` | {_type(node)} | `{json.dumps(default)}` | {_escape(node['description'])} |"


def _type(node: dict[str, Any]) -> str:
    if "enum" in node:
        return _escape(" | ".join(f"`{value}`" for value in node["enum"]))
    kind = str(node["type"])
    if kind == "array":
        kind = f"list of {node['items']['type']}"
    words = (("minimum", ">="), ("exclusiveMinimum", ">"), ("maximum", "<="))
    return ", ".join([kind, *(f"{sign} {node[name]}" for name, sign in words if name in node)])


def _escape(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
