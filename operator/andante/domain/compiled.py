"""Compiles loops over requests to machine code: numba compiles them for the types in their annotations.

A decision is about a hundred operations on a thousand numbers each. In numpy the calls cost more than the arithmetic,
and twice as much in an engine, where other Python code empties the processor's caches between two decisions.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Annotated, Any, ParamSpec, TypeVar, get_args, get_origin, get_type_hints

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
IntTable = Annotated[Ints, "two axes"]
"""The same of whole numbers."""
_TYPES: dict[Any, Any] = {
    float: numba.float64,
    int: numba.int64,
    bool: numba.boolean,
    Floats: numba.float64[::1],
    Ints: numba.int64[::1],
    Bools: numba.boolean[::1],
    Table: numba.float64[:, ::1],
    IntTable: numba.int64[:, ::1],
}


class Locator(UserProvidedCacheLocator):
    """Puts numba's cache into `compiled_folder`, whose name depends on the sources. The folder may be read-only."""

    @classmethod
    def get_suitable_cache_subpath(cls, py_file: str) -> str:
        return ""  # numba's own name depends on the path of the sources, and copies have another path

    def get_source_stamp(self) -> Any:
        return 0  # numba's own stamp is the file's modification time, which loses its fraction in an image

    def ensure_cache_path(self) -> None:
        if not Path(self.get_cache_path()).is_dir():
            super().ensure_cache_path()


def compiled(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Compile `function` when its module is imported. Raises KeyError for an annotation that `_TYPES` lacks.

    A NamedTuple of these types is allowed too. Pass arguments by position, with exactly these types. Arrays must be
    contiguous and have the lengths that `function` expects: no index is checked. Division by zero gives infinity, as in
    numpy. The machine code is kept for the next start (`compiled_folder`).

    A `Callable` of these types is a compiled function, which may be another one at each call.
    """
    return _compiled(function, ())


def compiled_with(*folders: Path) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """As `compiled`, for a function that calls parts outside `andante.domain`, in Python files of `folders`."""

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        return _compiled(function, folders)

    return decorate


def _compiled(function: Callable[_P, _R], folders: tuple[Path, ...]) -> Callable[_P, _R]:
    hints = get_type_hints(function, include_extras=True)
    hints.pop("return")
    signature = tuple(_type(hint) for hint in hints.values())
    config = numba.config
    before = config.CACHE_DIR, config.CACHE_LOCATOR_CLASSES
    source = Path(inspect.getfile(function))
    folder = compiled_folder(source, *folders, compiler=numba.__version__, chosen=config.CACHE_DIR)
    try:
        config.CACHE_DIR, config.CACHE_LOCATOR_CLASSES = str(folder), f"{__name__}.{Locator.__name__}"
        fast = numba.njit(signature, error_model="numpy", cache=True)(function)
    except (RuntimeError, OSError, EOFError, UnpicklingError):  # no writable folder, or no usable content
        fast = numba.njit(signature, error_model="numpy")(function)
    finally:
        config.CACHE_DIR, config.CACHE_LOCATOR_CLASSES = before
    answer: Callable[_P, _R] = fast
    return answer


def unchecked(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """The result of `compiled` without a check of argument types: an array of another type would be misread.

    For calls in every step, where the caller makes the arguments: numba's check of tuples takes longer than some of the
    loops.
    """
    if numba.config.DISABLE_JIT:
        return function
    dispatcher: Any = function
    (signature,) = dispatcher.nopython_signatures
    answer: Callable[_P, _R] = dispatcher.get_compile_result(signature).entry_point
    return answer


def part(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Mark `function` to be called by compiled functions and compiled with them."""
    answer: Callable[_P, _R] = numba.njit(error_model="numpy")(function)
    return answer


def inner(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """As `part`, in less time, for a function with many arguments that only compiled functions call.

    A call from Python would end the process: the code that would unpack its arguments is not there.
    """
    answer: Callable[_P, _R] = numba.njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)
    return answer


def uncounted(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """As `inner`, for a function that makes no array and returns none, nor calls one that does: without counts of
    references.

    Each call would count the references to all arrays of its tuples, with an atomic instruction for each: that was nine
    tenths of a simulated step.
    """
    answer: Callable[_P, _R] = numba.njit(
        error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True, _nrt=False
    )(function)
    return answer


def _type(hint: Any) -> Any:
    if get_origin(hint) is Callable:
        arguments, answer = get_args(hint)
        return numba.types.FunctionType(_type(answer)(*map(_type, arguments)))
    if get_origin(hint) is tuple:
        return numba.types.Tuple([_type(part) for part in get_args(hint)])
    if not (isinstance(hint, type) and issubclass(hint, tuple)):
        return _TYPES[hint]
    fields = [_type(field) for field in get_type_hints(hint, include_extras=True).values()]
    if len(set(fields)) == 1:
        return numba.types.NamedUniTuple(fields[0], len(fields), hint)
    return numba.types.NamedTuple(fields, hint)
