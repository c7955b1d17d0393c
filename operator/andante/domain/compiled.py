"""Loops over requests in machine code: numba compiles them for the types that their annotations name.

A decision is some hundred operations on a thousand numbers each. In numpy, the calls cost more than the numbers, and
twice that in an engine, whose own Python has emptied the processor's caches between two decisions.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Annotated, Any, ParamSpec, TypeVar, get_type_hints

import numba
import numpy as np
from numba.core.caching import UserProvidedCacheLocator
from numpy.typing import NDArray

from andante.domain.compiled_folder import compiled_folder

_P = ParamSpec("_P")
_R = TypeVar("_R")

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Table = Annotated[Floats, "two axes"]
"""Floats of shape (rows, columns); the others have one axis."""
_TYPES: dict[Any, Any] = {
    float: numba.float64,
    int: numba.int64,
    bool: numba.boolean,
    Floats: numba.float64[::1],
    Ints: numba.int64[::1],
    Bools: numba.boolean[::1],
    Table: numba.float64[:, ::1],
}


class Locator(UserProvidedCacheLocator):
    """Numba's cache in `compiled_folder`, which is named for the sources; it may have come with them, read-only."""

    @classmethod
    def get_suitable_cache_subpath(cls, py_file: str) -> str:
        return ""  # numba's is named for where the sources lie, and copies of them lie elsewhere

    def get_source_stamp(self) -> Any:
        return 0  # numba's is the file's time of change, which loses its fraction in an image

    def ensure_cache_path(self) -> None:
        if not Path(self.get_cache_path()).is_dir():
            super().ensure_cache_path()


def compiled(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """`function`, compiled when its module is imported; raises KeyError for an annotation that `_TYPES` lacks.

    A NamedTuple of those types is one, too. Arguments go by position and have exactly those types; arrays are
    contiguous, and of the lengths that `function` takes them for: nothing checks an index. Dividing by zero gives an
    infinity, as in numpy. The machine code is kept for the next start (`compiled_folder`).
    """
    hints = get_type_hints(function, include_extras=True)
    hints.pop("return")
    signature = tuple(_type(hint) for hint in hints.values())
    config = numba.config
    before = config.CACHE_DIR, config.CACHE_LOCATOR_CLASSES
    source = Path(inspect.getfile(function))
    folder = compiled_folder(source, compiler=numba.__version__, chosen=config.CACHE_DIR)
    try:
        config.CACHE_DIR, config.CACHE_LOCATOR_CLASSES = str(folder), f"{__name__}.{Locator.__name__}"
        fast = numba.njit(signature, error_model="numpy", cache=True)(function)
    except (RuntimeError, OSError, EOFError, UnpicklingError):  # no folder to write to, or nothing usable in it
        fast = numba.njit(signature, error_model="numpy")(function)
    finally:
        config.CACHE_DIR, config.CACHE_LOCATOR_CLASSES = before
    answer: Callable[_P, _R] = fast
    return answer


def unchecked(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """`function` of `compiled`, the types of its arguments not looked at: an array of others would be misread.

    For calls in every step, with arguments that the caller has made himself: to look at tuples takes numba longer than
    some of the loops that it then runs.
    """
    if numba.config.DISABLE_JIT:
        return function
    dispatcher: Any = function
    (signature,) = dispatcher.nopython_signatures
    answer: Callable[_P, _R] = dispatcher.get_compile_result(signature).entry_point
    return answer


def part(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """`function`, to be called by compiled functions, and compiled with them."""
    answer: Callable[_P, _R] = numba.njit(error_model="numpy")(function)
    return answer


def _type(hint: Any) -> Any:
    if not (isinstance(hint, type) and issubclass(hint, tuple)):
        return _TYPES[hint]
    fields = [_type(field) for field in get_type_hints(hint, include_extras=True).values()]
    if len(set(fields)) == 1:
        return numba.types.NamedUniTuple(fields[0], len(fields), hint)
    return numba.types.NamedTuple(fields, hint)
