"""Builds trees of fields from the CRD, the charts' values and the settings files, to look up paths in documentation."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import yaml
from pydantic import BaseModel

from andante.app.settings import OperatorSettings
from andante.engine_config import EngineConfig, QoESettings
from hack.docs.markdown import ROOT

Node = Mapping[str, Any]


@cache
def crd() -> Node:
    """The tree of the LLMService, from the CRD."""
    (path,) = sorted((ROOT / "crds").glob("*.yaml"))
    document = yaml.safe_load(path.read_text())
    plain: Node = _plain(document["spec"]["versions"][0]["schema"]["openAPIV3Schema"], {})
    return plain


@cache
def chart() -> Node:
    """The tree of the umbrella chart's values, which includes those of the operator's chart."""
    tree = json.loads((ROOT / "values.schema.json").read_text())
    operator = json.loads((ROOT / "charts" / "andante-operator" / "values.schema.json").read_text())
    properties = {**tree["properties"], "andante-operator": {**operator, "properties": {**operator["properties"]}}}
    definitions = {**tree.get("definitions", {}), **operator.get("definitions", {})}
    plain: Node = _plain({**tree, "properties": properties}, definitions)
    return plain


@cache
def settings() -> tuple[Node, ...]:
    """The trees of operator.yaml, engine.yaml and qoe.yaml."""
    return tuple(_model(model) for model in (OperatorSettings, EngineConfig, QoESettings))


def segments(path: str) -> list[str]:
    """The names in a path, without indices: `spec.qoe.classes[0].pace` has four."""
    return [part for part in re.sub(r"\[[^\]]*\]", "", path).strip(".").split(".") if part]


def has(tree: Node, path: Sequence[str]) -> bool:
    """Whether the tree has this path at its root."""
    return _walk(tree, path)


def has_somewhere(tree: Node, path: Sequence[str]) -> bool:
    """Whether the tree has this path below any of its fields."""
    return any(path[0] in node.get("properties", {}) and _walk(node, path) for node in _nodes(tree))


def fits(tree: Node, value: object) -> bool:
    """Whether a part of a manifest can be at this place of the tree: all its names exist there."""
    return not unknown(tree, value)


def unknown(tree: Node, value: object, at: str = "") -> list[str]:
    """The paths in `value` that the tree does not have."""
    if isinstance(value, Mapping):
        found = []
        for key, inner in value.items():
            child = _child(tree, str(key))
            found += [f"{at}.{key}".strip(".")] if child is None else unknown(child, inner, f"{at}.{key}")
        return found
    if isinstance(value, list):
        return [path for item in value for path in unknown(tree.get("items", {}), item, at)]
    return []


def fits_somewhere(tree: Node, value: Mapping[str, Any]) -> bool:
    """Whether a part of a manifest can be below any field of the tree."""
    return any(set(value) <= set(node.get("properties", ())) and fits(node, value) for node in _nodes(tree))


def _child(node: Node, name: str) -> Node | None:
    while "items" in node and "properties" not in node:
        node = node["items"]
    if name in node.get("properties", {}):
        child: Node = node["properties"][name]
        return child
    extra = node.get("additionalProperties")
    if isinstance(extra, Mapping):
        return extra
    open_ended = "properties" not in node and node.get("type") in (None, "object")
    return (
        {}
        if extra is True or node.get("x-kubernetes-preserve-unknown-fields") or (open_ended and extra is None)
        else None
    )


def _walk(tree: Node, path: Sequence[str]) -> bool:
    node: Node | None = tree
    for name in path:
        node = _child(node, name) if node is not None else None
    return node is not None


def _nodes(tree: Node) -> Iterator[Node]:
    yield tree
    for child in tree.get("properties", {}).values():
        yield from _nodes(child)
    for key in ("items", "additionalProperties"):
        if isinstance(tree.get(key), Mapping):
            yield from _nodes(tree[key])


def _model(model: type[BaseModel]) -> Node:
    document = model.model_json_schema(by_alias=True)
    plain: Node = _plain(document, document.get("$defs", {}))
    return plain


def _plain(node: Any, definitions: Mapping[str, Any]) -> Any:
    """The schema with references resolved and alternatives merged, as only names matter here."""
    if not isinstance(node, Mapping):
        return node
    if "$ref" in node:
        return _plain(definitions[node["$ref"].rpartition("/")[2]], definitions)
    merged = dict(node)
    for part in (*node.get("anyOf", ()), *node.get("oneOf", ()), *node.get("allOf", ())):
        plain = _plain(part, definitions)
        merged["properties"] = {**merged.get("properties", {}), **plain.get("properties", {})}
        merged.update(
            {key: plain[key] for key in ("items", "additionalProperties", "type") if key in plain and key not in merged}
        )
    if "properties" in merged:
        merged["properties"] = {name: _plain(child, definitions) for name, child in merged["properties"].items()}
        if not merged["properties"]:
            del merged["properties"]
    for key in ("items", "additionalProperties"):
        if key in merged:
            merged[key] = _plain(merged[key], definitions)
    return merged
