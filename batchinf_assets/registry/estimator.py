"""The estimator inside a verified `model.skops`; no pickle is ever read."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any
from zipfile import BadZipFile

from batchinf_assets.errors import Refusal
from batchinf_assets.registry.inspection import REVIEWED_TYPES, inspect_skops, recognize
from batchinf_assets.registry.statement import refused
from batchinf_assets.registry.untrusted_text import one_line

_NO_ESTIMATOR = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def load_estimator(data: bytes, what: str) -> Any:
    """Build the estimator out of the very bytes that were hashed.

    They are inspected again, signed or not: a signature says who vouches for them, not what is in
    them. What was built is inspected too: compiled code follows its trees without looking.

    Args:
        data: The file.
        what: What to call the model in a message.

    Raises:
        ModelRefused: The file is no skops file, holds a type that was not reviewed, or an
            estimator that predicting could leave the arrays of.
    """
    found = recognize(data)
    if found != "skops":
        raise refused(what, f"model.skops is a file of format {found}", Refusal.UNREADABLE)
    inspect_skops(data)
    estimator = _built(data, what)
    problem = _problem(estimator)
    if problem is not None:
        raise refused(what, f"model.skops holds an unsound model: {problem}", Refusal.UNREADABLE)
    return estimator


def _built(data: bytes, what: str) -> Any:
    import skops.io  # imported where used: with scikit-learn it takes two seconds

    try:
        return skops.io.loads(data, trusted=list(REVIEWED_TYPES))
    except (*_NO_ESTIMATOR, BadZipFile, ImportError) as error:
        problem = f"model.skops cannot be read by skops {version('skops')}: {_said(error)}"
        raise refused(what, problem, Refusal.UNREADABLE) from error


def _problem(estimator: Any) -> str | None:
    from batchinf_assets.registry.soundness import unsound  # with scikit-learn

    try:
        return unsound(estimator)
    except _NO_ESTIMATOR as error:
        return f"a part is not as fitting leaves it ({_said(error)})"


def _said(error: Exception) -> str:
    return one_line(str(error).partition("\n")[0]).rstrip(".")
