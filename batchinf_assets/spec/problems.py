"""What is wrong with a declaration, in words that its author knows."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from types import UnionType
from typing import Any, Union

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from batchinf_assets.checks import quoted

KEY = "[key]"
"""How pydantic says that a mapping's name is wrong, and not what stands below it."""

NO_BOOLEAN = ("bool",)
"""Where pydantic says that no boolean stands where there may be a list too: what it says of the
list tells enough."""

Location = tuple[int | str, ...]


def problems(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Return what is wrong, each with its path from the declaration's top, dots between.

    Args:
        error: What pydantic found.
        model: What it held the declaration against: the names that could have been meant.
    """
    found = [each for each in error.errors() if each["loc"][-1:] != NO_BOOLEAN]
    said = [_said(each, model) for each in found if KEY not in each["loc"]]
    return [*said, *_misnamed([each for each in found if KEY in each["loc"]])]


def _said(problem: ErrorDetails, model: type[BaseModel]) -> str:
    path = problem["loc"]
    where = _dotted(path)
    if problem["type"] == "missing":
        return f"{where} is missing"
    if problem["type"] == "extra_forbidden":
        known = _names(model, path[:-1])
        meant = _meant(str(path[-1]), known) or f"; there are {', '.join(sorted(known))}"
        return f"{where}: there is no such setting{meant if known else ''}"
    if problem["type"] == "literal_error":
        return _none_of(path, problem["input"], _choices(problem))
    if problem["type"] == "tuple_type" and (words := _quoted(str(path[-1]))):
        choices = ["true", "false", *(f"[{word}]" for word in words)]
        return _none_of(path, problem["input"], choices)
    told = re.sub(r"\s+", " ", problem["msg"]).strip().rstrip(".")
    return f"{where}: {told}" if where else told


def _misnamed(found: Sequence[ErrorDetails]) -> Iterator[str]:
    """Yield names that are none of a mapping's, which may be one of several kinds of mapping."""
    known: dict[Location, list[str]] = {}
    for problem in found:
        path = problem["loc"][: problem["loc"].index(KEY)]
        known.setdefault(path, []).extend(_choices(problem))
    for path, names in known.items():
        yield _none_of(path[:-1], path[-1], names)


def _choices(problem: ErrorDetails) -> list[str]:
    return _quoted(str(problem.get("ctx", {}).get("expected", "")))


def _quoted(text: str) -> list[str]:
    return re.findall(r"'([^']+)'", text)


def _none_of(path: Location, value: object, choices: Sequence[str]) -> str:
    shown = quoted(str(value))
    return f"{_dotted(path)}: '{shown}' is none of {', '.join(choices)}{_meant(shown, choices)}"


def _meant(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def _dotted(path: Location) -> str:
    # A part with a bracket is pydantic's word for one of several kinds that were tried.
    return ".".join(str(part) for part in path if "[" not in str(part))


def _names(model: type[BaseModel], path: Location) -> set[str]:
    """Return the settings that a declaration may have at a path."""
    kinds: list[Any] = [model]
    for part in path:
        kinds = [inner for kind in kinds for inner in _below(kind, part)]
    return {name for kind in kinds if _is_model(kind) for name in kind.model_fields}


def _below(kind: Any, part: int | str) -> Iterator[Any]:
    if _is_model(kind):
        if part in kind.model_fields:
            yield from _alternatives(kind.model_fields[part].annotation)
        return
    arguments = typing.get_args(kind)
    if arguments and issubclass(typing.get_origin(kind) or object, Mapping | Sequence):
        yield from _alternatives(next(each for each in arguments[::-1] if each is not Ellipsis))


def _alternatives(kind: Any) -> Iterator[Any]:
    if typing.get_origin(kind) in (Union, UnionType):
        for each in typing.get_args(kind):
            yield from _alternatives(each)
    elif typing.get_origin(kind) is typing.Annotated:
        yield from _alternatives(typing.get_args(kind)[0])
    else:
        yield kind


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
