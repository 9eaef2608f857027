"""Which landed files one revision had not seen, and the features that they may have changed."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from batchinf_assets.evaluation.comparison.stale_inputs import (
    InputDifference,
    features_behind,
    input_differences,
    views_by_feature,
)
from batchinf_assets.features.lineage import Origin
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.manifest.files import FileRecord
from batchinf_assets.spec.load import Pipeline
from batchinf_assets_tests.evaluation.comparison.written import manifest

PLANES, WEATHER = "planes.parquet", "weather.parquet"
MONDAY, TUESDAY = "outcomes/2013-07-01.parquet", "outcomes/2013-07-02.parquet"
LATER = timedelta(hours=3)


def made(*, at: timedelta = timedelta(0), absent: tuple[str, ...] = (), **files: str) -> Manifest:
    """A revision whose features were made from files of these contents."""
    paths = {"planes": PLANES, "weather": WEATHER, "monday": MONDAY, "tuesday": TUESDAY}
    records = tuple(
        FileRecord(path=paths[name], sha256=content * 64, bytes=1)
        for name, content in files.items()
    )
    start: datetime = manifest().scored_at
    return manifest(scored_at=start + at, features={"references": records, "absent": absent})


def test_a_file_that_had_not_landed_puts_that_side_behind_whichever_was_first(
    pipeline: Pipeline,
) -> None:
    without = made(at=LATER, monday="1", absent=(TUESDAY,))
    having = made(monday="1", tuesday="2")
    (found,) = input_differences(pipeline.spec, having, without)
    assert found == InputDifference(view="outcomes", behind="b", absent=(TUESDAY,), older=())


def test_of_two_contents_the_one_scored_first_is_the_older(pipeline: Pipeline) -> None:
    first, second = made(weather="1", planes="5"), made(at=LATER, weather="2", planes="5")
    (found,) = input_differences(pipeline.spec, first, second)
    assert found == InputDifference(view="weather", behind="a", absent=(), older=(WEATHER,))
    (turned,) = input_differences(pipeline.spec, second, first)
    assert turned.behind == "b"


def test_files_of_one_view_and_side_are_told_together(pipeline: Pipeline) -> None:
    a = made(monday="1", planes="5", absent=(TUESDAY,))
    b = made(at=LATER, monday="9", tuesday="2", planes="6")
    found = {each.view: each for each in input_differences(pipeline.spec, a, b)}
    assert found["outcomes"].absent == (TUESDAY,)
    assert found["outcomes"].older == (MONDAY,)
    assert found["planes"].older == (PLANES,)


def test_what_neither_had_or_both_had_alike_is_no_difference(pipeline: Pipeline) -> None:
    a = made(monday="1", absent=(TUESDAY,))
    assert input_differences(pipeline.spec, a, made(at=LATER, monday="1", absent=(TUESDAY,))) == ()


def test_a_file_that_one_never_asked_for_is_not_called_absent(pipeline: Pipeline) -> None:
    assert input_differences(pipeline.spec, made(monday="1"), made(monday="1", planes="5")) == ()


def test_lineage_leads_from_features_to_views(pipeline: Pipeline) -> None:
    origins = views_by_feature(pipeline)
    behind = features_behind(origins, iter(["outcomes"]), only_inputs_differ=False)
    assert behind == {"outcomes": ("carrier_delay_rate", "route_delay_rate")}


@pytest.mark.parametrize(("alone", "expected"), [(True, ("rate", "rows")), (False, ("rate",))])
def test_what_no_view_explains_is_put_down_to_the_files_if_nothing_else_differs(
    *, alone: bool, expected: tuple[str, ...]
) -> None:
    origins = {
        "rate": (Origin(view="outcomes", column="late"),),
        "rows": (),
        "age": (Origin(view="planes", column="made"), Origin(view="outcomes", column="late")),
    }
    behind = features_behind(origins, iter(["outcomes"]), only_inputs_differ=alone)
    assert behind["outcomes"] == tuple(n for n in origins if n in (*expected, "age"))
