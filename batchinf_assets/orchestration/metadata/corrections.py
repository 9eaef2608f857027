"""What corrected data changed, as metadata of the assets; empty where nothing was there before."""

from collections.abc import Sequence

import dagster as dg

from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.lake.place import Place
from batchinf_assets.lake.row_groups import RowGroups
from batchinf_assets.manifest.work import ChangesRecord
from batchinf_assets.orchestration.metadata.results import Metadata
from batchinf_assets.publishing.score_changes import ScoreChanges
from batchinf_assets.snapshots.changes import RowChanges, compare_rows

UNKNOWN = "unknown"


def snapshot_changes_metadata(
    before: Sequence[Place], after: Place, key: Sequence[str]
) -> Metadata:
    """Describe which rows a new snapshot added, changed and removed, with the first keys.

    Args:
        before: The file that the table showed, if there was one.
        after: The file that it shows now.
        key: The key columns.
    """
    if not before or before[0] == after:
        return {}
    try:
        found = compare_rows(RowGroups(before[0]), RowGroups(after), key)
    except (ManifestInvalid, ValueError, KeyError):  # damaged, or of other key columns
        return {"rows_changed": dg.MetadataValue.text(UNKNOWN)}
    return {**_counts(found), **_keys(found)}


def correction_metadata(changes: ChangesRecord | None) -> Metadata:
    """Describe what a scored revision supersedes, and how many rows kept their score."""
    if changes is None or changes.supersedes is None:
        return {}
    reason = {} if changes.reason is None else {"all_scored_because": changes.reason}
    return {
        "supersedes": dg.MetadataValue.text(changes.supersedes),
        "rows_carried": dg.MetadataValue.int(changes.carried),
        "rows_scored_again": dg.MetadataValue.int(changes.scored_again),
        **{name: dg.MetadataValue.text(text) for name, text in reason.items()},
    }


def score_changes_metadata(found: ScoreChanges | None) -> Metadata:
    """Describe how many scores a published revision changed for readers."""
    if found is None:
        return {}
    rows = dg.MetadataValue.text(found.problem or UNKNOWN)
    return {
        "supersedes": dg.MetadataValue.text(found.supersedes),
        "scores_changed": rows if found.rows is None else dg.MetadataValue.int(found.rows),
    }


def _counts(found: RowChanges) -> Metadata:
    counts = {
        "rows_added": found.added,
        "rows_changed": found.changed,
        "rows_removed": found.removed,
        "rows_unchanged": found.unchanged,
    }
    return {name: dg.MetadataValue.int(count) for name, count in counts.items()}


def _keys(found: RowChanges) -> Metadata:
    keys = {
        "first_added": found.added_keys,
        "first_changed": found.changed_keys,
        "first_removed": found.removed_keys,
    }
    return {name: dg.MetadataValue.json(list(some)) for name, some in keys.items() if some}
