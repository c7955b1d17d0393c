"""Limits the errors of a wrong body: a list stops at its first wrong item. No vLLM import.

vLLM's endpoints check an item against each possible form, two dozen at `/v1/responses`, and keep an error for each
field of each form. 10,000 wrong items in a body of 100 KiB give millions of errors: gigabytes of memory, and a minute
in which no token is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from pydantic_core import InitErrorDetails, PydanticCustomError, SchemaValidator, ValidationError

_MAX_ERRORS: Final = 1000
_MAX_FIELDS: Final = 4096
"""Most fields of an object with field names from the client, such as `logit_bias`, where each value is checked."""
_LISTS: Final = frozenset({"list", "set", "frozenset", "tuple"})
_ANY: Final = {"type": "any"}
_NO_SCHEMAS: Final = frozenset({"metadata", "serialization", "default", "expected"})


def bound_errors(routes: Iterable[Any], *, log_warning: Callable[[str], None]) -> None:
    """Limit the errors in the body checks of the FastAPI `routes`. The same bodies are accepted as before, except
    objects such as `logit_bias` that are too large.

    FastAPI has no setting for this, so this function changes FastAPI's internal fields. If they are missing, it logs a
    warning.
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
    """Replaces the validator of a type adapter."""

    def __init__(self, core_schema: Any) -> None:
        # Without this argument the models inside would use their own, unlimited checks.
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
    """Copy a core schema (pydantic's description of a check) so that its lists stop at their first wrong item.

    Objects have no such setting, so an object with too many fields is refused as a whole.
    """
    if isinstance(schema, dict):
        copy = {key: value if key in _NO_SCHEMAS else _stopping(value) for key, value in schema.items()}
        kind = copy.get("type")
        if not isinstance(kind, str):  # a table of fields with a field named "type"
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
