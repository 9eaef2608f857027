"""Scores are counted in the bin that they lie in, and every one of them once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from batchinf_assets.errors import WindowMissing
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.manifest.files import OutputRecord
from batchinf_assets.project import CHECKOUT, Project
from batchinf_assets.scoring.checkpoints import Checkpoint
from batchinf_assets.scoring.predictions import checkpoints_of
from batchinf_assets.scoring.score_histogram import (
    SCORE_BINS,
    bin_edges,
    count_scores,
    observed_scores,
)
from batchinf_assets.spec.load import Pipeline

REVISION = "0123456789abcdef"
EDGES = bin_edges(SCORE_BINS)

near_edges = st.sampled_from([*EDGES, *np.nextafter(EDGES, -np.inf), *np.nextafter(EDGES, np.inf)])
scores = arrays.arrays(
    np.float64, st.integers(0, 200), elements=st.one_of(st.floats(), st.floats(0, 1), near_edges)
)


@given(scores)
def test_every_score_is_counted_once(found: np.ndarray) -> None:
    assert count_scores(found).sum() == len(found)


@given(scores)
def test_a_score_is_counted_between_the_edges_that_it_lies_between(found: np.ndarray) -> None:
    is_in = (found >= 0) & (found <= 1)
    expected, _ = np.histogram(found[is_in], bins=EDGES)
    assert count_scores(found).tolist() == [*expected, np.count_nonzero(~is_in)]


@given(scores, scores)
def test_parts_add_up_to_the_whole(one: np.ndarray, other: np.ndarray) -> None:
    together = count_scores(np.concatenate([one, other]))
    assert (count_scores(one) + count_scores(other)).tolist() == together.tolist()


@pytest.mark.parametrize("hundredths", range(101))
def test_a_decision_in_hundredths_is_an_edge(hundredths: int) -> None:
    # The predicted ones are those from some bin on, whatever k / 100 and k / 200 round to.
    decision = hundredths / 100
    assert EDGES[2 * hundredths] == decision
    first = min(2 * hundredths, SCORE_BINS - 1)
    assert count_scores(np.array([decision]))[first] == 1


def test_a_slice_and_a_narrow_type_are_counted_by_value() -> None:
    wide = np.linspace(0, 1, 9)
    assert count_scores(wide[::2]).tolist() == count_scores(wide[::2].copy()).tolist()
    assert count_scores(wide.astype(np.float32)).tolist() == count_scores(wide).tolist()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    folders = {name: tmp_path / name for name in ("lake", "landing", "dagster_home", "keys")}
    return Project(root=CHECKOUT, **folders)


def observed(
    project: Project, pipeline: Pipeline, shards: list[tuple[int, ...] | None], *, planned: int
) -> tuple[int, ...] | None:
    """Keep a checkpoint per shard, and add up those of a revision with so many files."""
    window = pipeline.spec.window.window("2013-07-04")
    outputs = tuple(
        OutputRecord(path=f"{REVISION}/{index}", sha256="0" * 64, bytes=1, rows=1)
        for index in range(planned)
    )
    for index, counted in enumerate(shards):
        checkpoints_of(project, pipeline.spec, window, REVISION).keep(
            Checkpoint(
                revision=REVISION,
                index=index,
                start=index,
                output=outputs[index],
                keys=(),
                checks=(),
                observed={},
                scores=counted,
                seconds={},
                attempt=1,
            )
        )
    manifest = Manifest.model_construct(revision=REVISION, outputs=outputs)
    return observed_scores(project, pipeline.spec, window, manifest)


def test_the_counts_of_all_shards_are_added_up(project: Project, pipeline: Pipeline) -> None:
    one, other = (count_scores(np.array(found)) for found in ([0.2, 0.9], [0.2, 7.0]))
    shards: list[tuple[int, ...] | None] = [tuple(one.tolist()), tuple(other.tolist())]
    assert observed(project, pipeline, shards, planned=2) == tuple((one + other).tolist())


def test_a_revision_without_files_counted_nothing(project: Project, pipeline: Pipeline) -> None:
    assert observed(project, pipeline, [], planned=0) == (0,) * (SCORE_BINS + 1)


@pytest.mark.parametrize("counted", [None, (1, 2, 3)])
def test_what_an_earlier_version_counted_is_not_known(
    project: Project, pipeline: Pipeline, counted: tuple[int, ...] | None
) -> None:
    whole = tuple(count_scores(np.array([0.5])).tolist())
    assert observed(project, pipeline, [whole, counted], planned=2) is None


def test_a_lost_checkpoint_is_named(project: Project, pipeline: Pipeline) -> None:
    whole = tuple(count_scores(np.array([0.5])).tolist())
    with pytest.raises(WindowMissing, match=r"shard 1 of window 2013-07-04 .* is gone") as missing:
        observed(project, pipeline, [whole], planned=2)
    assert "Materialize flight_delays/predictions" in missing.value.next_step
