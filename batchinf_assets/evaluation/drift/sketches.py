"""Sketches: what is kept of a window's distributions, so that nobody needs its rows again.

A sketch holds a revision's rows by bin of its model's frozen profile. Sketches of one profile add
up, so any windows or ranges of windows can be held against each other. Which windows make a
reference is decided in `references`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby, pairwise
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from batchinf_assets.errors import UsageError
from batchinf_assets.evaluation.drift.distances import Difference, differences
from batchinf_assets.lake.digest import content_digest, sort_by
from batchinf_assets.lake.entries import is_file
from batchinf_assets.lake.files import read_parquet
from batchinf_assets.lake.place import Place
from batchinf_assets.lake.table import WindowTable
from batchinf_assets.project import Project
from batchinf_assets.registry.bins import Binned, CategoryCounts, NumericBins
from batchinf_assets.registry.profile import Profile
from batchinf_assets.registry.window_spread import WindowSpread
from batchinf_assets.scoring.predictions import manifests, predictions_table, published_revision
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

OTHER, MISSING = "other", "missing"
"""Labels of the last bins. A category may have the same name; bin numbers tell them apart."""

SKETCH_SCHEMA = pa.schema(
    [
        pa.field("revision", pa.string(), nullable=False),
        pa.field("profile", pa.string(), nullable=False),
        pa.field("subject", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("bin", pa.int32(), nullable=False),
        pa.field("low", pa.float64()),
        pa.field("high", pa.float64()),
        pa.field("label", pa.string()),
        pa.field("rows", pa.int64(), nullable=False),
    ]
)

SKETCH_KEY = ("revision", "subject", "bin")

MOST_KEPT = 512
"""Revisions whose sketches a process keeps in memory: a season, and the windows right before."""


@dataclass(frozen=True, kw_only=True)
class Sketches:
    """The distributions of one window, or of several together.

    Attributes:
        profile: Digest of the profile whose bins they have.
        windows: Keys of the windows that were counted.
        subjects: Rows by bin, of each feature and of the score.
        spreads: How the windows differ; of no subject where that is not known.
    """

    profile: str
    windows: tuple[str, ...]
    subjects: Mapping[str, Binned]
    spreads: Mapping[str, WindowSpread] = field(default_factory=dict[str, WindowSpread])

    @property
    def rows(self) -> int:
        """How many rows were counted."""
        return max((sum(each.bin_counts) for each in self.subjects.values()), default=0)


def sketch_table(project: Project, spec: PipelineSpec) -> WindowTable:
    """Return the table `sketches`."""
    return WindowTable(project.lake / spec.name / "sketches", SKETCH_SCHEMA)


def keep_sketches(
    project: Project,
    spec: PipelineSpec,
    window: Window,
    revision: str,
    profile: Profile,
    observed: Mapping[str, Sequence[int]],
    *,
    token: int = 1,
) -> Place:
    """Keep the sketches of a revision beside those of the window's other revisions.

    Sketches of a revision without a manifest go: it was a candidate that was never published.

    Args:
        project: Where the table is.
        spec: The pipeline.
        window: The window.
        revision: The revision that was counted.
        profile: The profile of its model.
        observed: Rows by bin number of each subject, as `Profile.observe` counts them.
        token: Which attempt at the window writes; see `lake.lease`.

    Returns:
        The file that holds them.

    Raises:
        Fenced: The log knows a higher token for the window.
        LostRace: Another writer replaced the same window meanwhile.
        ManifestInvalid: What is kept already is damaged.
    """
    table = sketch_table(project, spec)
    new = {name: profile.subjects[name].with_counts(counts) for name, counts in observed.items()}
    tables = [sketch_rows(revision, profile.digest, new)]
    kept = table.read(window)
    if kept is not None:
        store = manifests(project, spec)
        others = [
            each
            for each in pc.unique(kept.column("revision")).to_pylist()
            if each != revision and is_file(store.path(window, each))
        ]
        tables.append(_only(kept, others).cast(SKETCH_SCHEMA))
    rows = sort_by(pa.concat_tables(tables), SKETCH_KEY)
    return table.keep(window, content_digest(rows, SKETCH_KEY)[:16], rows, {}, token=token)


def read_sketches(
    project: Project,
    spec: PipelineSpec,
    windows: Iterable[Window],
    *,
    revisions: Mapping[str, str] | None = None,
) -> dict[str, Sketches]:
    """Read the sketches of windows, by window key, in their order.

    Args:
        project: Where the table is.
        spec: The pipeline.
        windows: The windows.
        revisions: Which revision of each window key; without it those that are published.

    Returns:
        Nothing for a window whose revision was not sketched, is not known or not published.

    Raises:
        ManifestInvalid: A table's log or a file is damaged.
    """
    sketched = sketch_table(project, spec).files()
    published = predictions_table(project, spec).files() if revisions is None else {}
    found: dict[str, Sketches] = {}
    for window in windows:
        if window.key not in sketched:
            continue
        if revisions is not None:
            revision = revisions.get(window.key)
        elif window.key in published:
            revision = published[window.key][0].parent.name
        else:
            revision = published_revision(project, spec, window)
        kept = _read(window.key, sketched[window.key], revision) if revision else None
        if kept is not None:
            found[window.key] = kept
    return found


@lru_cache(maxsize=MOST_KEPT)
def _read(window: str, paths: tuple[Place, ...], revision: str) -> Sketches | None:
    """Read the sketches of a revision once per process: files are named by what they hold."""
    rows = _only(pa.concat_tables([read_parquet(path) for path in paths]), [revision])
    return _sketches(window, rows) if rows.num_rows else None


def sketches_of(profile: Profile) -> Sketches:
    """Return the training rows themselves as sketches, of no window."""
    return Sketches(profile=profile.digest, windows=(), subjects=profile.subjects)


def merged(sketches: Iterable[Sketches]) -> Sketches:
    """Add up the sketches of several windows.

    Returns:
        Those subjects that every window has.

    Raises:
        UsageError: There are none, or they have the bins of several profiles.
    """
    parts = list(sketches)
    profile = _one_profile(parts)
    shared = [name for name in parts[0].subjects if all(name in each.subjects for each in parts)]
    return Sketches(
        profile=profile,
        windows=tuple(key for each in parts for key in each.windows),
        subjects={name: _sum([each.subjects[name] for each in parts]) for name in shared},
    )


def compare_sketches(
    before: Sketches, after: Sketches, *, profile: Profile | None = None
) -> tuple[Difference, ...]:
    """Measure how far one window, or range, lies from another; no row is read.

    Args:
        before: What is held against, the reference.
        after: What is measured, of the same profile.
        profile: That profile, which knows what stored sketches do not: the ends and the deviation
            of the training values. Without it there is no Wasserstein distance, but between
            `sketches_of` and others.

    Returns:
        The subjects that both have.

    Raises:
        UsageError: They have the bins of several profiles.
    """
    _one_profile([before, after, *([sketches_of(profile)] if profile else [])])
    bins = profile.subjects if profile else before.subjects
    shared = [name for name in before.subjects if name in after.subjects]
    observed = {name: after.subjects[name].bin_counts for name in shared}
    references = {name: bins[name].with_counts(before.subjects[name].bin_counts) for name in shared}
    return tuple(differences(observed, references).values())


def sketch_rows(revision: str, profile: str, subjects: Mapping[str, Binned]) -> pa.Table:
    """Write sketches as rows of `SKETCH_SCHEMA`, by subject and bin."""
    rows = [
        {"revision": revision, "profile": profile, "subject": name, "kind": each.kind, **bin_}
        for name, each in subjects.items()
        for bin_ in _bins(each)
    ]
    return pa.Table.from_pylist(rows, schema=SKETCH_SCHEMA)


def _bins(each: Binned) -> Iterator[dict[str, Any]]:
    if isinstance(each, NumericBins):
        ends = [{"low": low, "high": high} for low, high in pairwise((None, *each.edges, None))]
        described = [*ends, {"label": MISSING}]
    else:
        described = [{"label": label} for label in (*sorted(each.counts), OTHER, MISSING)]
    for place, (about, rows) in enumerate(zip(described, each.bin_counts, strict=True)):
        yield {"bin": place, **about, "rows": rows}


def _sketches(window: str, rows: pa.Table) -> Sketches:
    in_order = sort_by(rows, SKETCH_KEY).to_pylist()
    bins = {name: list(each) for name, each in groupby(in_order, lambda row: row["subject"])}
    return Sketches(
        profile=in_order[0]["profile"],
        windows=(window,),
        subjects={name: _subject(each) for name, each in bins.items()},
    )


def _subject(bins: Sequence[Mapping[str, Any]]) -> Binned:
    rows = [bin_["rows"] for bin_ in bins]
    if bins[0]["kind"] == "numeric":
        edges = tuple(bin_["high"] for bin_ in bins[:-2])
        return NumericBins(edges=edges, counts=tuple(rows[:-1]), missing=rows[-1])
    named = {bin_["label"]: bin_["rows"] for bin_ in bins[:-2]}
    return CategoryCounts(counts=named, other=rows[-2], missing=rows[-1])


def _sum(parts: Sequence[Binned]) -> Binned:
    columns = zip(*(each.bin_counts for each in parts), strict=True)
    return parts[0].with_counts([sum(column) for column in columns])


def _only(rows: pa.Table, revisions: Sequence[str]) -> pa.Table:
    wanted = pa.array(revisions, rows.schema.field("revision").type)
    return rows.filter(pc.is_in(rows.column("revision"), value_set=wanted))


def _one_profile(sketches: Sequence[Sketches]) -> str:
    profiles = {each.profile for each in sketches}
    if len(profiles) == 1:
        return profiles.pop()
    if not profiles:
        raise UsageError(
            "There are no sketches to add up.",
            next_step="Name windows that are published; materialize them first.",
        )
    windows = [key for each in sketches for key in each.windows]
    span = f"windows {windows[0]} to {windows[-1]}" if windows else "the training rows"
    raise UsageError(
        f"The sketches of {span} have the bins of {len(profiles)} reference profiles.",
        next_step="Compare windows that were scored by one version of the model.",
    )
