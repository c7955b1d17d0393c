"""Checks the YAML of a page: the operator accepts a whole LLMService, and all names in a part of one exist.

The same holds for parts of the chart's values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import yaml

from andante.api.v1alpha1 import LLMService, SpecError
from hack.docs import foreign, schema
from hack.docs.markdown import ROOT, Block, Fault, Page
from hack.docs.shell import commands

YAML = frozenset({"yaml", "yml"})
_VALUES = frozenset({"andante-operator", "global"})


def of_page(page: Page) -> list[Fault]:
    """Faults of the page's YAML. Where a test runs the page, its input for kubectl may be wrong on purpose."""
    found: list[Fault] = []
    for block in page.blocks:
        if block.language in YAML:
            found += _faults(page, block.line, block.text)
        elif block.is_shell and page.run_by is None and not block.note.startswith("run by:"):
            for command in commands(block.text):
                if command.program in ("kubectl", "cat") and command.document:
                    found += _faults(page, block.line + command.line, command.document)
    return found


def values_of(page: Page) -> list[Block]:
    """The blocks that are values of the chart."""
    return [block for block in page.blocks if block.language in YAML and _is_values(block.text)]


def _is_values(text: str) -> bool:
    documents = _documents(text) or []
    return documents != [] and all(isinstance(one, Mapping) and set(one) <= _VALUES for one in documents)


def _documents(text: str) -> list[Any] | None:
    try:
        return [one for one in yaml.safe_load_all(text) if one is not None]
    except yaml.YAMLError:
        return None


def _faults(page: Page, line: int, text: str) -> Iterator[Fault]:
    documents = _documents(text)
    if documents is None:
        yield Fault(
            page.path, line, text.splitlines()[0], "no YAML; a part of a manifest may be indented, but must parse"
        )
        return
    for document in documents:
        for name, advice in _of_document(document):
            yield Fault(page.path, line, name, advice)


@cache
def claims() -> frozenset[str]:
    """Names of the claims that have a manifest in examples/."""
    documents = [one for path in (ROOT / "examples").rglob("*.yaml") for one in _documents(path.read_text()) or ()]
    return frozenset(one["metadata"]["name"] for one in documents if one.get("kind") == "PersistentVolumeClaim")


def _claims_in(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key == "claimName" and isinstance(inner, str):
                yield inner
            yield from _claims_in(inner)
    elif isinstance(value, list):
        for item in value:
            yield from _claims_in(item)


def _of_document(document: object) -> Iterator[tuple[str, str]]:
    if not isinstance(document, Mapping):
        return
    for claim in _claims_in(document):
        if claim not in claims():
            yield claim, f"no manifest of this claim in examples/; take one of {', '.join(sorted(claims()))}, or add it"
    if document.get("kind") == "LLMService":
        if document.get("apiVersion") != "andante.dev/v1alpha1":
            yield "apiVersion", "an LLMService has `apiVersion: andante.dev/v1alpha1`"
        try:
            LLMService.parse(dict(document))
        except SpecError as error:
            yield "LLMService", f"the operator refuses it: {error}"
    elif set(document) <= foreign.ROOTS:
        return
    elif set(document) <= _VALUES:
        for path in schema.unknown(schema.chart(), document):
            yield path, "no such value of the chart; docs/reference/chart-values.md has all of them"
    elif "apiVersion" not in document and _is_of_a_service(document):
        for path in schema.unknown(schema.crd(), document):
            yield path, "no such field of an LLMService; docs/reference/llmservice.md has all of them"
    elif "apiVersion" not in document:
        trees = (schema.crd(), schema.chart(), *schema.settings())
        if not any(schema.fits_somewhere(tree, document) for tree in trees):
            wrong = schema.unknown(schema.crd(), document) or list(document)
            yield ", ".join(map(str, wrong)), "no such field of an LLMService or of the chart; see docs/reference/"


def _is_of_a_service(document: Mapping[str, Any]) -> bool:
    """Whether the part begins at the root: its `spec` is the service's, not that of a pod."""
    spec = document.get("spec")
    fields = schema.crd()["properties"]["spec"]["properties"]
    return isinstance(spec, Mapping) and bool(set(spec) & set(fields))
