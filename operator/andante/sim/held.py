"""Hands tuples of arrays on to compiled functions by reference.

A replica's state has several hundred numbers and pointers. A call by value passes them all: at run time that costs as
much as many a function, and it costs the compiler most of its time.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

import numba
from numba.core import cgutils
from numba.core.imputils import impl_ret_borrowed
from numba.core.typing.templates import AttributeTemplate
from numba.extending import infer_getattr, intrinsic, lower_getattr_generic, models, register_model

_T = TypeVar("_T", bound=tuple[Any, ...])


class _Held(numba.types.Type):
    """A reference to a named tuple. Its fields can be read; a field that is a named tuple is a reference too."""

    def __init__(self, values: Any) -> None:
        self.values = values
        super().__init__(name=f"Held({values})")

    def place(self, field: str) -> int | None:
        fields: tuple[str, ...] = self.values.fields
        return fields.index(field) if field in fields else None


@register_model(_Held)
class _HeldModel(models.OpaqueModel):
    """A pointer to the tuple as compiled code has it."""


@infer_getattr
class _Fields(AttributeTemplate):
    key = _Held

    def generic_resolve(self, held: _Held, field: str) -> Any:
        place = held.place(field)
        return None if place is None else _read_type(held.values.types[place])


def _read_type(field: Any) -> Any:
    return _Held(field) if isinstance(field, numba.types.BaseNamedTuple) else field


def _read(context: Any, builder: Any, held: _Held, pointer: Any, field: str) -> Any:
    place = held.place(field)
    typed = builder.bitcast(pointer, context.get_value_type(held.values).as_pointer())
    at = cgutils.gep_inbounds(builder, typed, 0, place)
    kind = held.values.types[place]
    if isinstance(kind, numba.types.BaseNamedTuple):
        return builder.bitcast(at, cgutils.voidptr_t)
    return impl_ret_borrowed(context, builder, kind, builder.load(at))


lower_getattr_generic(_Held)(_read)


def _held(_: Any, values: Any) -> Any:
    def kept(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(cgutils.alloca_once_value(builder, arguments[0]), cgutils.voidptr_t)

    return _Held(values)(values), kept


def _same(values: _T) -> _T:
    return values


class _Holds(Protocol):
    def __call__(self, values: _T, /) -> _T: ...


held: _Holds = _same if numba.config.DISABLE_JIT else intrinsic(_held)
"""`values`, a named tuple, for the functions that the caller calls. The reference is valid until the caller returns."""
