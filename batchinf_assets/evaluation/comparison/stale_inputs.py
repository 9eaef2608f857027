"""Landed files that one revision's features were made without, or from an earlier content of.

What came of it is in `causes`; how old observations were is in `observation_age`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from batchinf_assets.errors import FeatureSqlFailed
from batchinf_assets.features.lineage import Origin, column_lineage
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.manifest.inputs import FeaturesRecord
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec

Side = Literal["a", "b"]
OUTCOMES = "outcomes"


@dataclass(frozen=True, kw_only=True)
class InputDifference:
    """Files behind one view that one side had not seen as the other did.

    Attributes:
        view: The view of the feature SQL.
        behind: The side that had not.
        absent: Files that had not landed when it was made.
        older: Files that held other bytes then.
    """

    view: str
    behind: Side
    absent: tuple[str, ...]
    older: tuple[str, ...]


def input_differences(spec: PipelineSpec, a: Manifest, b: Manifest) -> tuple[InputDifference, ...]:
    """Compare the files that two revisions' features were made from, beside the snapshot.

    Of two contents of a file the one of the revision that was scored first counts as the older.

    Args:
        spec: Says which file is behind which view.
        a: The one revision.
        b: The other.
    """
    first: Side = "a" if a.scored_at <= b.scored_at else "b"
    found: dict[tuple[str, Side], dict[str, list[str]]] = {}
    for path, behind, how in _differing(a.features, b.features, first):
        for view in _views_of(spec, path):
            files = found.setdefault((view, behind), {"absent": [], "older": []})
            files[how].append(path)
    return tuple(
        InputDifference(
            view=view, behind=behind, absent=tuple(files["absent"]), older=tuple(files["older"])
        )
        for (view, behind), files in found.items()
    )


def views_by_feature(pipeline: Pipeline) -> Mapping[str, tuple[Origin, ...]]:
    """Return the view columns behind each feature; empty where the SQL has no lineage."""
    try:
        return column_lineage(pipeline)
    except FeatureSqlFailed:
        return {}


def features_behind(
    origins: Mapping[str, tuple[Origin, ...]], views: Iterator[str], *, only_inputs_differ: bool
) -> dict[str, tuple[str, ...]]:
    """Return the features that each of these views may have changed.

    A join or a count may change a feature without a column of its view in it. So where nothing but
    landed files differs, what no other view explains is put down to every one of them.

    Args:
        origins: The view columns behind each feature.
        views: The views whose files differ.
        only_inputs_differ: Whether snapshot and definition are the same.
    """
    names = tuple(dict.fromkeys(views))
    behind = {feature: {origin.view for origin in each} for feature, each in origins.items()}
    return {
        view: tuple(
            feature
            for feature, own in behind.items()
            if view in own or (only_inputs_differ and own.isdisjoint(names))
        )
        for view in names
    }


def _differing(
    a: FeaturesRecord, b: FeaturesRecord, first: Side
) -> Iterator[tuple[str, Side, Literal["absent", "older"]]]:
    one, other = ({file.path: file.sha256 for file in each.references} for each in (a, b))
    for path in sorted({*one, *other}):
        if path in a.absent or path in b.absent:
            yield path, "a" if path in a.absent else "b", "absent"
        elif path in one and path in other and one[path] != other[path]:
            yield path, first, "older"


def _views_of(spec: PipelineSpec, path: str) -> tuple[str, ...]:
    named = tuple(name for name, each in spec.references.items() if each.file == path)
    return named or (OUTCOMES,)
