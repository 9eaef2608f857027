"""Where something lies in a lake: a path on a local disk or a place in an S3 bucket.

Both answer to the same names, those of `pathlib`; how bytes get there is `lake.files`'s business,
and who may replace a document `lake.conditional`'s.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from batchinf_assets.errors import UsageError
from batchinf_assets.lake.s3 import S3Place
from batchinf_assets.lake.s3_access import S3Access

Place: TypeAlias = Path | S3Place

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")
"""How a URL begins; with a slash too few it would be a folder of that name in the checkout."""

_S3_URL = re.compile(
    r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?P<key>(/[\w!.*'()=-]+)*)/?"
)


def parse_place(text: str, root: Path, environ: Mapping[str, str], *, variable: str) -> Place:
    """Read a folder or an `s3://bucket/prefix` as a setting names it.

    Args:
        text: The setting's value; a relative folder counts from `root`.
        root: The checkout.
        environ: How S3 is reached, for a place there.
        variable: The setting's name, for errors.

    Raises:
        UsageError: It is a URL of another store, or no plain bucket and prefix.
    """
    if "://" not in text and not _SCHEME.match(text):
        return root / text
    parsed = _S3_URL.fullmatch(text)
    if parsed is None or {".", ".."} & {*parsed["key"].split("/")}:
        shown = "a URL with credentials" if "@" in text or "?" in text else f"'{text}'"
        raise UsageError(
            f"{variable} is {shown}: neither a folder nor a plain s3://bucket/prefix.",
            next_step=f"Set {variable} to a folder, or to a bucket and a prefix of letters, "
            "digits and dashes.",
        )
    access = S3Access.from_environ(environ)
    return S3Place(bucket=parsed["bucket"], key=parsed["key"].lstrip("/"), access=access)


def path_within(place: Place, folder: Place) -> str:
    """Return the path from a folder to a place in it, with slashes.

    Raises:
        ValueError: The place does not lie in it.
    """
    if isinstance(place, S3Place):
        return place.relative_to(folder).as_posix()
    return place.relative_to(str(folder)).as_posix()
