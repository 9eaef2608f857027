"""Where a golden set comes from: the JSON document that lies beside its Parquet file.

`golden.golden_set` holds the file to it; `training.golden_draw` writes it.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from batchinf_assets.errors import GoldenSetInvalid
from batchinf_assets.lake.files import read_bounded
from batchinf_assets.manifest.inputs import WindowRecord
from batchinf_assets.manifest.values import Count, Digest, Text
from batchinf_assets.spec.contract import Name

RESTORE = "Restore both files from version control, or draw a set anew: `batchinf golden draw`."


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Stratum(_Value):
    """One group that rows were drawn from by themselves.

    Attributes:
        values: What its rows share, by column, as text; null where the value is missing.
        available: Its labelled rows.
        drawn: How many of these are in the set.
    """

    values: dict[Name, str | None]
    available: Count
    drawn: Count


class LearnedFrom(_Value):
    """Training that the drawn windows were kept apart from; `end` is the day after its last."""

    what: Text
    start: date
    end: date


class Provenance(_Value):
    """How a golden set was made.

    Attributes:
        format_version: Of this document.
        version: Of the set; it is raised with every one that takes another's place.
        sha256: Of the Parquet file.
        rows: Its rows.
        positives: Rows whose label is true; None of a regression.
        drawn_at: When it was drawn, by the clock on the wall.
        first: The first window that rows were drawn from.
        last: The last one; its end is where the set's age begins.
        available: Labelled rows of these windows.
        unlabelled: Their rows without a label, which cannot be drawn.
        seed: Of the draw; the same landed files, code and seed give the same rows.
        method: How it was drawn, in words.
        strata: What was drawn from which group; empty where all rows were one.
        code_version: Version of this package that drew it.
        commit: The checkout's commit; None outside a checkout.
        excluded: Training that the windows were kept apart from.
    """

    format_version: Literal[1] = 1
    version: Text
    sha256: Digest
    rows: Count = Field(gt=0)
    positives: Count | None = None
    drawn_at: AwareDatetime
    first: WindowRecord
    last: WindowRecord
    available: Count
    unlabelled: Count
    seed: Count
    method: Text
    strata: tuple[Stratum, ...] = ()
    code_version: Text
    commit: str | None = Field(default=None, pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})$")
    excluded: tuple[LearnedFrom, ...]

    @model_validator(mode="after")
    def _counts_fit_each_other(self) -> Provenance:
        if not (self.positives or 0) <= self.rows <= self.available:
            raise ValueError("positives are some of the rows, and these some of those available")
        if self.last.end < self.first.end:
            raise ValueError("the last window is before the first one")
        if self.strata and sum(each.drawn for each in self.strata) != self.rows:
            raise ValueError("the rows drawn from the strata are not those of the set")
        return self

    def to_json(self) -> bytes:
        """Write the document; equal values give equal bytes."""
        return self.model_dump_json(indent=2).encode() + b"\n"


def provenance_path(golden: Path) -> Path:
    """Return where the provenance of a golden set lies: beside it, with the ending .json."""
    return golden.with_suffix(".json")


def read_provenance(golden: Path) -> Provenance | None:
    """Read the provenance of a golden set; None where there is no such file.

    Raises:
        GoldenSetInvalid: The file is no provenance of a format that this version knows.
    """
    path = provenance_path(golden)
    try:
        return Provenance.model_validate_json(read_bounded(path))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "document"
        raise GoldenSetInvalid(
            f"{path} is no provenance of a golden set: {where}: {problem['msg']}.",
            next_step=RESTORE,
        ) from error
