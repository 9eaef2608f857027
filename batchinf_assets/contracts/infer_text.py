"""Whether texts are codes of one shape, such as `N12345` or `AA-17`, and which."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, zip_longest

import pyarrow as pa
import pyarrow.compute as pc

ENOUGH_TEXTS = 10
"""Fewer different texts show no shape."""

LONGEST_CODE = 40
MOST_SPREAD = 2
"""Characters by which codes of one shape may differ in length."""

_LOOKED_AT = 2000
_PUNCTUATION = frozenset("-_./:#")


def regular_pattern(texts: pa.Array) -> str | None:
    """Return an expression that all the texts match, if they are codes of one shape.

    Codes are up to 40 letters and digits of ASCII with little punctuation, nearly of one length.

    Args:
        texts: Different texts, none of them null.
    """
    if len(texts) < ENOUGH_TEXTS:
        return None
    shortest, longest = pc.min_max(pc.utf8_length(texts)).as_py().values()
    if not 0 < shortest <= longest <= min(LONGEST_CODE, shortest + MOST_SPREAD):
        return None
    pattern = _pattern(texts.slice(0, _LOOKED_AT).to_pylist(), shortest)
    if pattern is None:
        return None
    matches = pc.match_substring_regex(texts, f"^(?:{pattern})$")
    return pattern if pc.all(matches).as_py() else None


def _pattern(texts: Sequence[str], shortest: int) -> str | None:
    places = [{c for c in of if c is not None} for of in zip_longest(*texts)]
    classes = [_class_of(place) for place in places]
    if any(found is None for found in classes):
        return None
    fixed = [found for found in classes[:shortest] if found is not None]
    if len(places) == shortest:
        return "".join(_counted(fixed))
    # Where lengths differ, what stands behind the common beginning is one run.
    head = next((i for i, place in enumerate(places) if len(place) > 1), shortest)
    tail = _class_of(set[str]().union(*places[head:]))
    return "".join(_counted(fixed[:head])) + f"{tail}{{{shortest - head},{len(places) - head}}}"


def _class_of(characters: set[str]) -> str | None:
    if len(characters) == 1:
        (only,) = characters
        known = only in _PUNCTUATION or (only.isascii() and only.isalnum())
        return only.replace(".", r"\.") if known else None
    parts = [
        ("0-9", any(c.isdigit() for c in characters)),
        ("A-Z", any(c.isupper() for c in characters)),
        ("a-z", any(c.islower() for c in characters)),
    ]
    if not all(c.isascii() and c.isalnum() for c in characters):
        return None
    return f"[{''.join(name for name, there in parts if there)}]"


def _counted(classes: Sequence[str]) -> Iterator[str]:
    for found, run in groupby(classes):
        times = len(list(run))
        shorter = times > (1 if found.startswith("[") else 3)
        yield f"{found}{{{times}}}" if shorter else found * times
