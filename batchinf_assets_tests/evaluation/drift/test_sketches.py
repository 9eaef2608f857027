"""Sketches per window: what the table holds, whose sketches are read, and what they add up to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from batchinf_assets.errors import UsageError
from batchinf_assets.evaluation.drift.distances import differences
from batchinf_assets.evaluation.drift.sketches import (
    Sketches,
    compare_sketches,
    keep_sketches,
    merged,
    read_sketches,
    sketch_table,
    sketches_of,
)
from batchinf_assets.registry.bins import CategoryCounts, NumericBins
from batchinf_assets.spec.load import Pipeline
from batchinf_assets_tests.evaluation.drift.sketched_lake import (
    COUNTS,
    FIRST,
    NO_ROWS,
    OTHER_PROFILE,
    PROFILE,
    SECOND,
    SketchedLake,
)

MONDAY, TUESDAY = "2013-07-01", "2013-07-02"


@pytest.fixture
def lake(pipeline: Pipeline, tmp_path: Path) -> SketchedLake:
    return SketchedLake.below(tmp_path, pipeline.spec)


def read(
    lake: SketchedLake, *keys: str, revisions: dict[str, str] | None = None
) -> dict[str, Sketches]:
    """Read the sketches of windows."""
    windows = [lake.window(key) for key in keys]
    return read_sketches(lake.project, lake.spec, windows, revisions=revisions)


def test_the_table_says_what_each_bin_is(lake: SketchedLake) -> None:
    lake.sketch(MONDAY)
    table = sketch_table(lake.project, lake.spec).read(lake.window(MONDAY))
    assert table is not None
    assert set(table.column("revision").to_pylist()) == {FIRST}
    assert set(table.column("profile").to_pylist()) == {PROFILE.digest}
    rows = table.drop_columns(["revision", "profile"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        ("carrier", "categorical", 0, None, None, "", 0),
        ("carrier", "categorical", 1, None, None, "AA", 1),
        ("carrier", "categorical", 2, None, None, "other", 2),
        ("carrier", "categorical", 3, None, None, "other", 3),
        ("carrier", "categorical", 4, None, None, "missing", 4),
        ("distance", "numeric", 0, None, 1.0, None, 1),
        ("distance", "numeric", 1, 1.0, 2.5, None, 2),
        ("distance", "numeric", 2, 2.5, None, None, 3),
        ("distance", "numeric", 3, None, None, "missing", 4),
    ]


def test_what_was_kept_is_read_back(lake: SketchedLake) -> None:
    lake.published_and_sketched([MONDAY])
    found = read(lake, MONDAY)[MONDAY]
    assert (found.windows, found.rows, found.profile) == ((MONDAY,), 10, PROFILE.digest)
    assert found.subjects == {
        "carrier": CategoryCounts(counts={"": 0, "AA": 1, "other": 2}, other=3, missing=4),
        "distance": NumericBins(edges=(1.0, 2.5), counts=(1, 2, 3), missing=4),
    }


def test_a_number_without_edges_is_read_back(lake: SketchedLake) -> None:
    bins = NumericBins(edges=(), counts=(7,), missing=2)
    profile = PROFILE.model_copy(update={"subjects": {"never": bins}})
    lake.sketch(MONDAY, {"never": [0, 3]}, profile=profile)
    found = read(lake, MONDAY, revisions={MONDAY: FIRST})[MONDAY]
    assert found.subjects == {"never": bins.with_counts([0, 3])}


def test_keeping_the_same_again_writes_nothing(lake: SketchedLake) -> None:
    table, window = sketch_table(lake.project, lake.spec), lake.window(MONDAY)
    first = lake.sketch(MONDAY)
    written, version = first.stat().st_mtime_ns, table.version_of(window)
    assert lake.sketch(MONDAY) == first
    assert (first.stat().st_mtime_ns, table.version_of(window)) == (written, version)


def test_a_window_without_rows_has_sketches_too(lake: SketchedLake) -> None:
    lake.sketch(MONDAY, NO_ROWS)
    lake.publish(MONDAY, rows=0)
    assert read(lake, MONDAY)[MONDAY].rows == 0


def test_only_the_published_revision_is_read(lake: SketchedLake) -> None:
    lake.sketch(MONDAY)
    assert read(lake, MONDAY) == {}
    lake.publish(MONDAY)
    candidate = {**COUNTS, "distance": [10, 0, 0, 0]}
    lake.sketch(MONDAY, candidate, revision=SECOND)
    assert read(lake, MONDAY)[MONDAY].subjects["distance"].bin_counts == (1, 2, 3, 4)
    named = read(lake, MONDAY, revisions={MONDAY: SECOND})[MONDAY]
    assert named.subjects["distance"].bin_counts == (10, 0, 0, 0)


def test_after_a_rollback_the_sketches_of_the_earlier_revision_are_there(
    lake: SketchedLake,
) -> None:
    lake.published_and_sketched([MONDAY])
    lake.sketch(MONDAY, {**COUNTS, "distance": [10, 0, 0, 0]}, revision=SECOND)
    lake.publish(MONDAY, SECOND)
    assert read(lake, MONDAY)[MONDAY].subjects["distance"].bin_counts == (10, 0, 0, 0)
    lake.publish(MONDAY, FIRST)
    assert read(lake, MONDAY)[MONDAY].subjects["distance"].bin_counts == (1, 2, 3, 4)


def test_a_candidate_that_was_never_published_makes_room_for_the_next(lake: SketchedLake) -> None:
    lake.published_and_sketched([MONDAY])
    lake.sketch(MONDAY, revision=SECOND)
    lake.sketch(MONDAY, revision="1" * 16)
    table = sketch_table(lake.project, lake.spec).read(lake.window(MONDAY))
    assert table is not None
    assert sorted(set(table.column("revision").to_pylist())) == [FIRST, "1" * 16]


def test_a_published_window_without_sketches_is_not_there(lake: SketchedLake) -> None:
    lake.publish(MONDAY)
    lake.published_and_sketched([TUESDAY])
    assert list(read(lake, MONDAY, TUESDAY)) == [TUESDAY]
    assert read(lake, TUESDAY, revisions={TUESDAY: SECOND}) == {}


def test_a_file_is_read_once(lake: SketchedLake) -> None:
    lake.published_and_sketched([MONDAY, TUESDAY])
    before = read(lake, MONDAY, TUESDAY)
    again = read(lake, MONDAY, TUESDAY)
    assert all(again[key] is before[key] for key in (MONDAY, TUESDAY))


def test_counts_of_other_bins_are_not_kept(lake: SketchedLake) -> None:
    window = lake.window(MONDAY)
    with pytest.raises(ValueError, match="3 counts for 4 bins"):
        keep_sketches(lake.project, lake.spec, window, FIRST, PROFILE, {"distance": [1, 2, 3]})
    assert read(lake, MONDAY, revisions={MONDAY: FIRST}) == {}


def sketches(key: str, distance: list[int], profile: str = PROFILE.digest) -> Sketches:
    """Sketches of one subject as the table gives them back."""
    bins = NumericBins(edges=(1.0, 2.5), counts=(0, 0, 0), missing=0)
    return Sketches(
        profile=profile, windows=(key,), subjects={"distance": bins.with_counts(distance)}
    )


def test_windows_add_up() -> None:
    both = merged([sketches(MONDAY, [1, 2, 3, 4]), sketches(TUESDAY, [10, 0, 0, 5])])
    assert (both.windows, both.rows) == ((MONDAY, TUESDAY), 25)
    assert both.subjects["distance"].bin_counts == (11, 2, 3, 9)


def test_only_subjects_that_all_windows_have_add_up() -> None:
    more = replace(sketches_of(PROFILE), windows=(TUESDAY,))
    assert list(merged([more, sketches(MONDAY, [1, 2, 3, 4])]).subjects) == ["distance"]


def test_windows_of_two_profiles_do_not_add_up() -> None:
    other = sketches(TUESDAY, [1, 2, 3, 4], OTHER_PROFILE.digest)
    with pytest.raises(UsageError, match=f"{MONDAY} to {TUESDAY} have the bins of 2 reference"):
        merged([sketches(MONDAY, [1, 2, 3, 4]), other])


def test_no_windows_add_up_to_nothing() -> None:
    with pytest.raises(UsageError, match="no sketches"):
        merged([])


def test_two_ranges_are_compared_without_any_row() -> None:
    before = merged([sketches(MONDAY, [5, 10, 4, 1]), sketches(TUESDAY, [5, 10, 4, 1])])
    after = sketches("2013-07-03", [4, 10, 5, 1])
    (found,) = compare_sketches(before, after, profile=PROFILE)
    reference = PROFILE.subjects["distance"].with_counts([10, 20, 8, 2])
    expected = differences({"distance": [4, 10, 5, 1]}, {"distance": reference})
    assert found == expected["distance"]
    assert (found.rows, found.reference_rows) == (20, 40)
    # Cumulative shares differ by 1 / 19 at both edges; the bins are .5, 1.5 and 6.5 wide.
    assert found.wasserstein == pytest.approx((0.25 + 1.5 + 3.25) / 19 / 2.0)
    (alone,) = compare_sketches(before, after)
    assert alone == replace(found, wasserstein=None)


def test_a_window_is_compared_with_the_training_rows() -> None:
    (found,) = compare_sketches(sketches_of(PROFILE), sketches(MONDAY, [4, 10, 5, 1]))
    assert found.subject == "distance"
    assert found.reference_rows == 20
    assert found.wasserstein is not None


def test_windows_of_two_profiles_are_not_compared() -> None:
    there = sketches(MONDAY, [1, 2, 3, 4])
    other = sketches(TUESDAY, [1, 2, 3, 4], OTHER_PROFILE.digest)
    with pytest.raises(UsageError, match="2 reference profiles"):
        compare_sketches(there, other)
    with pytest.raises(UsageError, match="2 reference profiles"):
        compare_sketches(there, there, profile=OTHER_PROFILE)


def test_the_file_is_small(lake: SketchedLake) -> None:
    """Bins, not rows: what is kept does not grow with the window."""
    large = {name: [rows * 10**9 for rows in counts] for name, counts in COUNTS.items()}
    place = lake.sketch(MONDAY, large)
    assert pq.read_metadata(place).num_rows == 9
