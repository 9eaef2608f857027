"""Why two revisions of a window differ: what decides a revision, held against each other.

Causes are told in the order in which a revision's digest names its inputs; see `scoring.revision`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from batchinf_assets.evaluation.comparison.changed_columns import ChangedColumns
from batchinf_assets.evaluation.comparison.observation_age import ObservationAge
from batchinf_assets.evaluation.comparison.stale_inputs import InputDifference, Side
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.snapshots.changes import RowChanges

CauseKind = Literal["snapshot", "features", "definition", "model", "settings", "code", "contract"]

SHOWN = 3
"""So many files or columns are spelled out in a sentence."""

DIGITS = 8
"""Of a digest, for people."""


@dataclass(frozen=True, kw_only=True)
class StaleInput:
    """What files that one side had not seen did to its features.

    Attributes:
        files: The files, their view and the side.
        features: The features of that view that changed.
        rows_changed: Rows where one of them changed.
        rows: Rows that both sides have.
        age: How old observations were, where the view is an `as_of` reference and it is known.
    """

    files: InputDifference
    features: tuple[str, ...]
    rows_changed: int
    rows: int
    age: ObservationAge | None = None


@dataclass(frozen=True, kw_only=True)
class Cause:
    """One reason why two revisions are not the same.

    Attributes:
        kind: Which input of the revision's digest differs.
        sentence: What differs, for people.
        stale: The landed files behind it; None where it is about nothing landed.
    """

    kind: CauseKind
    sentence: str
    stale: StaleInput | None = None


def find_causes(
    a: Manifest,
    b: Manifest,
    *,
    source_rows: RowChanges | None,
    features: ChangedColumns,
    stale: Sequence[StaleInput],
) -> tuple[Cause, ...]:
    """Name every difference of what decides a revision, in the order of its digest's inputs.

    Args:
        a: The one revision.
        b: The other.
        source_rows: How the frozen rows differ; None where they do not, or are gone.
        features: How the features of rows that both have differ.
        stale: What landed files did.
    """
    return (
        *_snapshot(a, b, source_rows),
        *(Cause(kind="features", sentence=_stale(a, b, each), stale=each) for each in stale),
        *_unexplained(a, b, features, stale),
        *_definition(a, b, features),
        *_model(a, b),
        *_settings(a, b),
        *_code(a, b),
        *_contracts(a, b),
    )


def _snapshot(a: Manifest, b: Manifest, rows: RowChanges | None) -> Iterator[Cause]:
    if a.snapshot.digest == b.snapshot.digest:
        return
    path, landed = b.snapshot.source.path, a.snapshot.source.sha256 != b.snapshot.source.sha256
    how = "the frozen rows of one of them are gone"
    if rows is not None:
        how = (
            f"{rows.changed:,} changed, {rows.removed:,} only in {_name(a)}, {rows.added:,} only "
            f"in {_name(b)}"
        )
    again = f"; {path} was another file" if landed else ""
    yield Cause(kind="snapshot", sentence=f"The source rows differ: {how}{again}")


def _stale(a: Manifest, b: Manifest, found: StaleInput) -> str:
    files, behind = found.files, {"a": a, "b": b}[found.files.behind]
    were = "was" if len(found.features) == 1 else "were"
    had = [
        *([f"{listed(files.absent)} had not landed"] if files.absent else []),
        *([f"{listed(files.older)} held other rows"] if files.older else []),
    ]
    return (
        f"{listed(found.features)} {were} stale: {' and '.join(had)} when {_name(behind)} was "
        f"scored{_age(found.age, a, b, files.behind)}; {found.rows_changed:,} of {found.rows:,} "
        "rows changed"
    )


def _age(age: ObservationAge | None, a: Manifest, b: Manifest, behind: Side) -> str:
    if age is None or age.fresh_seconds is None:
        return ""
    fresh = b if behind == "a" else a
    then = "of an age that is not known"
    if age.stale_seconds is not None:
        then = f"at least {_duration(age.stale_seconds)} old at the median"
    told = f" (observations were {then}, in {_name(fresh)} {_duration(age.fresh_seconds)}"
    without = f"; {age.without:,} of {age.rows:,} rows had none" if age.without else ""
    return f"{told}{without})"


def _unexplained(
    a: Manifest, b: Manifest, features: ChangedColumns, stale: Sequence[StaleInput]
) -> Iterator[Cause]:
    """Features that changed although nothing that they are made from is on record as different."""
    known = {name for each in stale for name in each.features}
    rest = [change.column for change in features.columns if change.column not in known]
    same_inputs = a.snapshot.digest == b.snapshot.digest
    if rest and same_inputs and a.features.definition == b.features.definition:
        sentence = f"{listed(rest)} changed, and no file that they are made from is on record as"
        yield Cause(kind="features", sentence=f"{sentence} different")


def _definition(a: Manifest, b: Manifest, features: ChangedColumns) -> Iterator[Cause]:
    one, other = a.features.definition, b.features.definition
    if one == other:
        return
    columns = [
        *(f"{name} only in {_name(a)}" for name in features.only_a),
        *(f"{name} only in {_name(b)}" for name in features.only_b),
    ]
    told = f"; {listed(columns)}" if columns else ""
    yield Cause(
        kind="definition", sentence=f"The feature definition differs: {_digests(one, other)}{told}"
    )


def _model(a: Manifest, b: Manifest) -> Iterator[Cause]:
    if a.model.digest != b.model.digest:
        scored = (f"{_name(m)} was scored by {m.model.name} v{m.model.version}" for m in (a, b))
        yield Cause(kind="model", sentence=f"The model differs: {', '.join(scored)}")


def _settings(a: Manifest, b: Manifest) -> Iterator[Cause]:
    names = _differing(a.settings.model_dump(), b.settings.model_dump())
    if names:
        yield Cause(kind="settings", sentence=f"Settings differ: {listed(names)}")


def _code(a: Manifest, b: Manifest) -> Iterator[Cause]:
    if a.code.source != b.code.source:
        commits = " (commits {}, {})".format(
            *((c.commit or "-")[:DIGITS] for c in (a.code, b.code))
        )
        yield Cause(
            kind="code",
            sentence=f"The code differs: {_digests(a.code.source, b.code.source)}{commits}",
        )
    one, other = ({"python": each.python, **each.libraries} for each in (a.code, b.code))
    names = _differing(one, other)
    if names:
        said = [f"{name} {one.get(name, '-')} and {other.get(name, '-')}" for name in names]
        yield Cause(kind="code", sentence=f"Libraries differ: {listed(said)}")


def _contracts(a: Manifest, b: Manifest) -> Iterator[Cause]:
    stages = {
        "source": (a.snapshot, b.snapshot),
        "features": (a.features, b.features),
    }
    for what, (one, other) in stages.items():
        counts = f"{one.quarantined:,} rows were set aside in {_name(a)}, {other.quarantined:,} in"
        if None not in (one.contract, other.contract) and one.contract != other.contract:
            said = _digests(str(one.contract), str(other.contract))
            sentence = f"The contract of the {what} differs: {said}; {counts} {_name(b)}"
            yield Cause(kind="contract", sentence=sentence)
        elif one.rejected != other.rejected:
            yield Cause(kind="contract", sentence=f"Other rows of the {what}: {counts} {_name(b)}")


def listed(names: Sequence[str]) -> str:
    """Write names in a sentence, the first three spelled out."""
    if len(names) > SHOWN:
        return f"{', '.join(names[:SHOWN])} and {len(names) - SHOWN} more"
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _name(manifest: Manifest) -> str:
    return f"revision {manifest.revision}"


def _digests(one: str, other: str) -> str:
    return f"{one[:DIGITS]} and {other[:DIGITS]}"


def _differing(one: Mapping[str, object], other: Mapping[str, object]) -> list[str]:
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
