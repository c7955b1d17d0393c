"""What is looked for in a body that is wrong: a list's first wrong item, and so many errors at most. No vLLM import.

vLLM's endpoints check an item against each of its possible forms, two dozen at `/v1/responses`, and keep an error for
each field of each form. Ten thousand wrong items, in a body of a hundred kilobytes, are millions of errors: gigabytes,
and a minute in which no token is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from pydantic_core import InitErrorDetails, PydanticCustomError, SchemaValidator, ValidationError

_MAX_ERRORS: Final = 1000
_MAX_FIELDS: Final = 4096
"""Of an object whose fields a client names, such as `logit_bias`, where each field's value is checked."""
_LISTS: Final = frozenset({"list", "set", "frozenset", "tuple"})
_ANY: Final = {"type": "any"}
_NO_SCHEMAS: Final = frozenset({"metadata", "serialization", "default", "expected"})


def bound_errors(routes: Iterable[Any], *, log_warning: Callable[[str], None]) -> None:
    """From now on the FastAPI `routes` check their bodies so; which bodies are right stays as it is, but for the size
    of objects such as `logit_bias`.

    FastAPI has no setting for it, so this takes hold of its own fields; where they are others, the log says so.
    """
    for route in routes:
        field = getattr(route, "body_field", None)
        if field is None:
            continue
        try:
            adapter = field._type_adapter
            adapter.validator = _BoundedValidator(adapter.core_schema)
        except Exception as error:  # noqa: BLE001  a check as it was is better than no server
            log_warning(f"{getattr(route, 'path', route)}: wrong bodies have no limit on their errors: {error!r}")


class _BoundedValidator:
    """In place of a type adapter's own validator."""

    def __init__(self, core_schema: Any) -> None:
        # Without this argument the models inside would check as they were built.
        self._plain = SchemaValidator(_stopping(core_schema), _use_prebuilt=False)

    def validate_python(self, value: Any, **options: Any) -> Any:
        try:
            return self._plain.validate_python(value, **options)
        except ValidationError as error:
            if error.error_count() <= _MAX_ERRORS:
                raise
            many = PydanticCustomError("too_many_errors", "{count} errors", {"count": error.error_count()})
            details = InitErrorDetails(type=many, loc=(), input=None)
            raise ValidationError.from_exception_data(error.title, [details]) from None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plain, name)


def _stopping(schema: Any) -> Any:
    """A copy of a core schema (pydantic's description of a check) whose lists stop at their first wrong item.

    Objects have no such setting, so those with too many fields are wrong as a whole.
    """
    if isinstance(schema, dict):
        copy = {key: value if key in _NO_SCHEMAS else _stopping(value) for key, value in schema.items()}
        kind = copy.get("type")
        if not isinstance(kind, str):  # a table of fields, one of which is called so
            return copy
        if kind in _LISTS:
            return {**copy, "fail_fast": True}
        if kind == "dict" and copy.get("values_schema", _ANY) != _ANY:
            return {"type": "function-before", "function": {"type": "no-info", "function": _few_fields}, "schema": copy}
        return copy
    if isinstance(schema, list | tuple):
        return type(schema)(_stopping(item) for item in schema)
    return schema


def _few_fields(value: Any) -> Any:
    if isinstance(value, dict) and len(value) > _MAX_FIELDS:
        raise PydanticCustomError("too_many_fields", "an object with more than {most} fields", {"most": _MAX_FIELDS})
    return value
