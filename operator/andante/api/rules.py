"""Adds to the models what types cannot say: CEL rules with a message for people, and kinds of lists.

A pydantic field or model has its rules in `json_schema_extra`; `andante.generate.crd` copies them into the CRD. The API
server then refuses a wrong resource at `kubectl apply`, with the field's path. Rules for one string replace `pattern`:
for a pattern the API server shows only the regular expression, which does not help users.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic.types import JsonValue

PATTERN_HINT: Final = "x-andante-pattern"
"""Regular expression behind a CEL rule. Not part of the CRD; the schema fuzzer draws strings from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One CEL validation rule (x-kubernetes-validations).

    rule: CEL over `self`. message: sentence that is shown when the rule is false; says what is wrong and what to do.
    message_expression: CEL that gives the sentence, where the sentence must name a value; `message` is the fallback.
    field_path: the field of the error, relative to the rule's field, when it is not `self`.
    """

    rule: str
    message: str
    message_expression: str | None = None
    field_path: str | None = None

    def to_schema(self) -> dict[str, JsonValue]:
        schema: dict[str, JsonValue] = {"rule": self.rule, "message": self.message}
        if self.message_expression is not None:
            schema["messageExpression"] = self.message_expression
        if self.field_path is not None:
            schema["fieldPath"] = self.field_path
        return schema


def rules(*listed: Rule) -> dict[str, JsonValue]:
    """`json_schema_extra` with the rules."""
    return {"x-kubernetes-validations": [rule.to_schema() for rule in listed]}


def matching(pattern: str, message: str) -> dict[str, JsonValue]:
    """`json_schema_extra` for a string that must match an anchored regular expression (RE2), else `message`."""
    return rules(Rule(rule=f"self.matches({cel_string(pattern)})", message=message)) | {PATTERN_HINT: pattern}


def list_by(*keys: str) -> dict[str, JsonValue]:
    """`json_schema_extra` for a list whose entries `keys` identify: unique, and merged one by one on apply."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


def cel_string(text: str) -> str:
    """A CEL string literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def cel_list(items: tuple[str, ...] | list[str]) -> str:
    """A CEL list of string literals."""
    return "[" + ", ".join(cel_string(item) for item in items) + "]"


def cel_map(entries: Mapping[str, str]) -> str:
    """A CEL map of string literals."""
    return "{" + ", ".join(f"{cel_string(key)}: {cel_string(value)}" for key, value in entries.items()) + "}"


PRESERVE_UNKNOWN: Final[dict[str, Any]] = {"x-kubernetes-preserve-unknown-fields": True}
