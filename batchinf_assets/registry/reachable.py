"""Everything that a loaded estimator holds, and attributes that would take a method's place."""

from __future__ import annotations

import gc
import inspect
from collections.abc import Iterable, Iterator, Mapping
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np

# Nothing that a file chose lies behind these; behind classes and functions lies all of Python.
_ENDS = (
    type,
    ModuleType,
    FunctionType,
    BuiltinFunctionType,
    np.ufunc,
    str,
    bytes,
    int,
    float,
    complex,
    type(None),
)


def reachable(root: Any, closed: Mapping[type, str]) -> Iterator[Any]:
    """Yield an object and all that it holds, each once, an object before what it holds.

    What Python's garbage collector would follow is followed, so no container hides anything:
    attributes, slots, items, keys, arguments of partial functions; and the items of arrays.

    Args:
        root: Where to start.
        closed: By class, the one attribute whose value is not followed.
    """
    pending: list[Any] = [root]
    seen: dict[int, Any] = {}  # holds the objects too: no number may be given twice meanwhile
    while pending:
        found = pending.pop()
        if id(found) in seen or isinstance(found, _ENDS):
            continue
        seen[id(found)] = found
        yield found
        pending.extend(_held(found, closed))


def hidden_method(value: Any) -> str | None:
    """Return the name of an attribute that stands where the class has a method, if there is one.

    Such an attribute would be called instead of the method, and leave out what it checks.
    """
    for name in getattr(value, "__dict__", ()):
        kind = type(inspect.getattr_static(type(value), name, None))
        if hasattr(kind, "__get__") and not hasattr(kind, "__set__"):
            return name
    return None


def _held(value: Any, closed: Mapping[type, str]) -> Iterable[Any]:
    hidden = {name for class_, name in closed.items() if isinstance(value, class_)}
    if hidden:
        return [held for name, held in vars(value).items() if name not in hidden]
    items: list[Any] = []
    if isinstance(value, np.ndarray) and value.dtype.hasobject:  # the collector does not look there
        items = np.asarray(value).ravel().tolist()  # without the mask that hides some
    return [*items, *gc.get_referents(value)]
