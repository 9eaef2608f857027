"""What can be told of a pipeline from its landed files; the texts are `scaffold.texts`'.

All of it is a proposal for its owner to correct. It runs as it is: every source column that a model
can learn from is a feature, and the label is what the owner says.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from batchinf_assets.contracts.infer import Proposal, propose
from batchinf_assets.errors import UsageError
from batchinf_assets.scaffold.drop import Drop, days_of
from batchinf_assets.snapshots.sample import read_sample
from batchinf_assets.spec.contract import NUMERIC, ColumnSpec, LimitsSpec

SAMPLED_FILES = 16
"""Files that are looked at: one day knows neither the rare text nor the largest number."""

MOST_CATEGORIES = 100
"""Different texts up to which a column is a feature: more are names rather than categories."""

TRAINING_SHARE = 0.7
"""Of the days that landed; the golden set is drawn from the others."""


@dataclass(frozen=True, kw_only=True)
class Draft:
    """What a first declaration says beside what its owner said.

    Attributes:
        seen: What was looked at of the rows to score, in words.
        source: The rows to score, as they seem to be; with key and time.
        outcomes: Their outcomes.
        known_at: The column of the time at which an outcome became known.
        features: Source columns that a model can learn from, as declared there.
        training: First day of training, and the day after its last.
        golden: First and last window that the golden set may come from; None where training needs
            all that landed.
    """

    seen: str
    source: Proposal
    outcomes: Proposal
    known_at: str
    features: dict[str, ColumnSpec]
    training: tuple[date, date]
    golden: tuple[str, str] | None


def draft(
    source: Drop,
    outcomes: Drop,
    *,
    key: Sequence[str] = (),
    time: str | None = None,
    known_at: str | None = None,
) -> Draft:
    """Look at what landed.

    Args:
        source: Files with the rows to score.
        outcomes: Files with what became of them.
        key: Columns that identify a row; looked for where there are none.
        time: The column of a row's event; looked for where it is None.
        known_at: As in `Draft`; likewise.

    Raises:
        UsageError: No window has both files; or no key, no time, or nothing to learn from was
            found.
        LandedFileUnreadable: A file is damaged or too large.
    """
    both = [window for window in source.files if window in outcomes.files]
    if not both:
        raise UsageError(
            f"No window has both {source.pattern} and {outcomes.pattern}.",
            next_step="Name a source and an outcome file of the same window.",
        )
    rows, files, proposed = _looked_at(source, key, time)
    if not proposed.key or proposed.time is None:
        lacking = "time" if proposed.key else "key"
        raise UsageError(
            f"{source.pattern} has no column that could be the {lacking}.",
            next_step=f"Name it with --{lacking}, or land one: times need a zone.",
        )
    _, _, told = _looked_at(outcomes)
    _require_key(outcomes, told, source, proposed)
    features = dict(_learnable(rows, proposed))
    if not features:
        raise UsageError(
            f"{source.pattern} has no column that a model could learn from.",
            next_step="Land numbers or categories beside key and time.",
        )
    training, golden = _split(both)
    return Draft(
        seen=f"{rows.num_rows:,} rows of {files} of {len(source.files)} files",
        source=proposed,
        outcomes=told,
        known_at=_known_at(outcomes, told, proposed, known_at),
        features=features,
        training=training,
        golden=golden,
    )


def _looked_at(
    drop: Drop, key: Sequence[str] = (), time: str | None = None
) -> tuple[pa.Table, int, Proposal]:
    """Sample files all over the drop; those of other columns than the newest are left out."""
    paths = list(drop.files.values())
    step = math.ceil(len(paths) / SAMPLED_FILES)
    samples = [read_sample(path, LimitsSpec()) for path in paths[::-1][::step]]
    alike = [each for each in samples if each.rows.schema.equals(samples[0].rows.schema)]
    rows = pa.concat_tables([each.rows for each in alike])
    untold = samples[0].untold
    proposal = propose(rows, rows_in_file=None, untold=untold, key=key, time=time)
    return rows, len(alike), proposal


def _require_key(outcomes: Drop, told: Proposal, source: Drop, proposed: Proposal) -> None:
    lacking = [name for name in proposed.key if name not in told.declarable]
    if lacking:
        raise UsageError(
            f"{outcomes.pattern} lacks {', '.join(lacking)}, part of the key of {source.pattern}.",
            next_step="Name another key with --key, or land outcomes with it.",
        )


def _learnable(rows: pa.Table, proposed: Proposal) -> Iterator[tuple[str, ColumnSpec]]:
    for name, spec in proposed.declarable.items():
        if name in (*proposed.key, proposed.time) or spec.unique:
            continue
        values = rows.column(name)
        categories = spec.type == "string" and pc.count_distinct(values).as_py() <= MOST_CATEGORIES
        if spec.type in NUMERIC or spec.type == "bool" or categories:
            yield name, spec


def _known_at(drop: Drop, outcomes: Proposal, source: Proposal, wanted: str | None) -> str:
    times = [name for name, spec in outcomes.declarable.items() if spec.type == "timestamp"]
    own = [name for name in times if name not in (*source.key, source.time)]
    if wanted is None and len(own) == 1:
        return own[0]
    if wanted in times:
        return wanted
    raise UsageError(
        f"{drop.pattern} has {len(own)} columns that could say when an outcome became known"
        + (f": {', '.join(own)}." if own else "."),
        next_step="Name one with --known-at; it needs times with a zone.",
    )


def _split(windows: Sequence[str]) -> tuple[tuple[date, date], tuple[str, str] | None]:
    days = days_of(windows)
    count = max(1, round(len(days) * TRAINING_SHARE))
    end = days[count] if count < len(days) else days[-1] + timedelta(days=1)
    later = [window for window in windows if window >= str(end)]
    return (days[0], end), (later[0], later[-1]) if later else None
