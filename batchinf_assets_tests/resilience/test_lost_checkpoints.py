"""Checkpoints are deleted: what is scored again is what was lost, row by row, byte by byte."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from batchinf_assets.scoring.predictions import checkpoints_of

if TYPE_CHECKING:
    from batchinf_assets_tests.resilience.conftest import Desk


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_rows_scored_again_equal_rows_lost(desk: Desk, share: float) -> None:
    revision, *digests = desk.outputs()
    checkpoints = checkpoints_of(desk.project, desk.pipeline.spec, desk.window, revision)
    kept = [checkpoints.read(index) for index in range(len(digests))]
    rows = {found.index: found.output.rows for found in kept if found}
    assert len(rows) == len(digests)
    lost = random.Random(share).sample(sorted(rows), max(1, round(share * len(rows))))
    desk.unpublish()
    for index in lost:
        (desk.folder / f"_checkpoints/{desk.window.key}/{revision}/{index:05}.json").unlink()

    again = desk.run("again")

    found = [checkpoints.read(index) for index in rows]
    scored = {each.index: each.output.rows for each in found if each and each.attempt > 1}
    assert scored == {index: rows[index] for index in lost}
    assert again.shards is not None
    assert (again.shards.computed, again.shards.reused) == (len(lost), len(rows) - len(lost))
    assert desk.outputs() == [revision, *digests]
    assert desk.verify().holds


def test_without_any_loss_nothing_is_scored_again(desk: Desk) -> None:
    before = desk.outputs()
    desk.unpublish()
    again = desk.run("again")
    assert again.shards is not None
    assert again.shards.computed == 0
    assert desk.outputs() == before
