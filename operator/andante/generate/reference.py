"""Writes docs/reference/llmservice.md from the CRD's schema (`make generate`)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from andante.generate.crd import PRINTER_COLUMNS, Schema, spec_schema, status_schema

_INTRODUCTION = """\
# LLMService

<!-- Generated from operator/andante/api by `make generate`; a test compares. Do not edit. -->

`andante.dev/v1alpha1`, kind `LLMService`, short name `lls`, namespaced. The API server checks everything on this page
when you apply a resource: types, bounds and the rules of each section. `kubectl explain lls.spec.qoe` shows the same
text. Another project uses the kind `LLMService` in a group of its own: where both are installed, say
`kubectl get llmservices.andante.dev` (or `lls`).

Durations are texts such as `200ms`, `1s`, `1m30s`, `6h` or `28d`. Required fields are marked with *.
"""


def reference() -> str:
    """The reference page."""
    lines = [_INTRODUCTION]
    lines += ["## Columns of `kubectl get lls`", "", "| column | meaning | field |", "|---|---|---|"]
    lines += [
        f"| {column['name'].upper()}{' (`-o wide`)' if column.get('priority') else ''} | {column['description']} |"
        f" `{column['jsonPath']}` |"
        for column in PRINTER_COLUMNS
    ]
    for root, schema in (("spec", spec_schema()), ("status", status_schema())):
        for path, node in _sections(root, schema):
            lines += ["", f"{'#' * min(2 + path.count('.'), 4)} {path}", "", node.get("description", "")]
            lines += _rules(node)
            lines += _table(path, node)
    return "\n".join(lines) + "\n"


def _sections(path: str, node: Schema) -> Iterator[tuple[str, Schema]]:
    """Every object with fields, depth first, with its path; the entries of a list as `path[]`."""
    if node.get("properties"):
        yield path, node
        for name, child in node["properties"].items():
            yield from _sections(f"{path}.{name}", child)
    elif "items" in node:
        yield from _sections(f"{path}[]", node["items"])


def _rules(node: Mapping[str, Any]) -> list[str]:
    messages = [rule["message"] for rule in node.get("x-kubernetes-validations", ())]
    return (
        ["", "Rules, in the words of the refusal:", "", *(f"* {message}" for message in messages)] if messages else []
    )


def _table(path: str, node: Mapping[str, Any]) -> list[str]:
    required = node.get("required", ())
    rows = ["", "| field | type | default | meaning |", "|---|---|---|---|"]
    for name, child in node["properties"].items():
        star = "*" if name in required else ""
        default = f"`{json.dumps(child['default'])}`" if child.get("default") not in (None, {}) else ""
        if isinstance(child.get("default"), Mapping):
            default = "see below"
        meaning = child.get("description", "")
        own_rules = [] if child.get("properties") else child.get("x-kubernetes-validations", [])
        meaning += "".join(f" *Rule: {rule['message']}.*" for rule in own_rules)
        rows.append(f"| `{name}`{star} | {_type(child)} | {default} | {_cell(meaning)} |")
    return rows


def _type(node: Mapping[str, Any]) -> str:
    if node.get("x-kubernetes-int-or-string"):
        return "integer or string"
    if "enum" in node:
        return _cell(" | ".join(f"`{value}`" for value in node["enum"]))
    if node["type"] == "array":
        return f"list of {_type(node['items'])}"
    if "additionalProperties" in node:
        return f"map of {_type(node['additionalProperties'])}"
    bounds = [
        f"{sign} {node[bound]}" for bound, sign in (("minimum", ">="), ("maximum", "<=")) if node.get(bound) is not None
    ]
    return ", ".join([node["type"], *bounds])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
