"""Checkpoints: believed only if they are of this revision and their file holds what they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from batchinf_assets.checks import CheckResult
from batchinf_assets.lake.digest import file_sha256, json_sha256
from batchinf_assets.lake.order import KeySpan
from batchinf_assets.lake.versioned import LARGEST_DOCUMENT
from batchinf_assets.manifest.files import OutputRecord
from batchinf_assets.scoring.checkpoints import Checkpoint, Checkpoints
from batchinf_assets.scoring.shards import Shard

REVISION = "0123456789abcdef"
SHARD = Shard(index=3, groups=range(3, 4), start=300, rows=100)
PATH = f"{REVISION}/{SHARD.file_name}"


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    table = tmp_path / "predictions"
    (table / REVISION).mkdir(parents=True)
    (table / REVISION / SHARD.file_name).write_bytes(b"a hundred rows")
    return Checkpoints(folder=tmp_path / "_checkpoints", table=table, revision=REVISION)


@pytest.fixture
def kept(checkpoints: Checkpoints) -> Checkpoint:
    path = checkpoints.table / REVISION / SHARD.file_name
    made = Checkpoint(
        revision=REVISION,
        index=SHARD.index,
        start=SHARD.start,
        output=OutputRecord(
            path=PATH,
            sha256=file_sha256(path),
            bytes=path.stat().st_size,
            rows=SHARD.rows,
        ),
        keys=(KeySpan(first=(300, "a"), last=(399, "b"), rows=100),),
        checks=(CheckResult(name="contract", asset="predictions", passed=True),),
        observed={"distance": (60, 40)},
        scores=(30, 70, 0),
        seconds={"read": 0.5},
        attempt=2,
    )
    checkpoints.keep(made)
    return made


def file_of(checkpoints: Checkpoints) -> Path:
    (path,) = Path(str(checkpoints.folder)).glob("*.json")
    return path


def test_a_finished_shard_is_found_as_it_was_kept(
    checkpoints: Checkpoints, kept: Checkpoint
) -> None:
    assert checkpoints.finished(SHARD, PATH) == kept
    assert checkpoints.missing([SHARD]) == []


def test_a_shard_without_a_checkpoint_is_not_finished(checkpoints: Checkpoints) -> None:
    assert checkpoints.finished(SHARD, PATH) is None
    assert checkpoints.missing([SHARD]) == [SHARD]


def test_a_changed_file_is_not_finished(checkpoints: Checkpoints, kept: Checkpoint) -> None:
    (checkpoints.table / kept.output.path).write_bytes(b"a hundred rowz")
    assert checkpoints.finished(SHARD, PATH) is None


def test_a_lost_file_is_not_finished(checkpoints: Checkpoints, kept: Checkpoint) -> None:
    (checkpoints.table / kept.output.path).unlink()
    assert checkpoints.finished(SHARD, PATH) is None


@pytest.mark.parametrize(
    "plan",
    [
        Shard(index=3, groups=range(3, 4), start=299, rows=100),
        Shard(index=3, groups=range(3, 4), start=300, rows=99),
        Shard(index=2, groups=range(3, 4), start=300, rows=100),
    ],
)
def test_a_checkpoint_of_another_plan_is_not_believed(
    checkpoints: Checkpoints, kept: Checkpoint, plan: Shard
) -> None:
    assert kept
    assert checkpoints.finished(plan, PATH) is None


def test_a_checkpoint_of_another_revision_is_not_believed(
    checkpoints: Checkpoints, kept: Checkpoint
) -> None:
    assert kept
    other = Checkpoints(
        folder=checkpoints.folder, table=checkpoints.table, revision="fedcba9876543210"
    )
    assert other.finished(SHARD, PATH) is None


@pytest.mark.parametrize(
    "elsewhere",
    [
        f"fedcba9876543210/{SHARD.file_name}",
        f"{REVISION}/part-00004.parquet",
    ],
)
def test_a_checkpoint_that_names_a_file_in_another_place_is_not_believed(
    checkpoints: Checkpoints, kept: Checkpoint, elsewhere: str
) -> None:
    """Whoever can write into the lake can seal a checkpoint: the seal has no key."""
    place = Path(str(checkpoints.table)) / elsewhere
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(b"a hundred rows")
    planted = kept.output.model_copy(update={"path": elsewhere})
    checkpoints.keep(kept.model_copy(update={"output": planted}))
    assert checkpoints.finished(SHARD, PATH) is None


def test_no_flipped_bit_of_a_checkpoint_passes(checkpoints: Checkpoints, kept: Checkpoint) -> None:
    path = file_of(checkpoints)
    whole = path.read_bytes()
    for position in range(0, len(whole), 7):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << (position % 8)
        path.write_bytes(bytes(flipped))
        assert checkpoints.finished(SHARD, PATH) is None, position
    path.write_bytes(whole)
    assert checkpoints.finished(SHARD, PATH) == kept


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}"])
def test_a_torn_checkpoint_is_as_good_as_none(
    checkpoints: Checkpoints, kept: Checkpoint, content: bytes
) -> None:
    assert kept
    file_of(checkpoints).write_bytes(content)
    assert checkpoints.finished(SHARD, PATH) is None


def test_a_checkpoint_from_before_scores_were_counted_is_believed(
    checkpoints: Checkpoints, kept: Checkpoint
) -> None:
    path = file_of(checkpoints)
    document = json.loads(path.read_bytes())["checkpoint"]
    del document["scores"]
    path.write_text(json.dumps({"checkpoint": document, "sha256": json_sha256(document)}))
    assert checkpoints.finished(SHARD, PATH) == kept.model_copy(update={"scores": None})


def test_scores_cannot_be_taken_out_of_a_checkpoint(
    checkpoints: Checkpoints, kept: Checkpoint
) -> None:
    assert kept
    path = file_of(checkpoints)
    sealed = json.loads(path.read_bytes())
    del sealed["checkpoint"]["scores"]
    path.write_text(json.dumps(sealed))
    assert checkpoints.finished(SHARD, PATH) is None


def test_a_checkpoint_of_a_later_format_is_not_believed(
    checkpoints: Checkpoints, kept: Checkpoint
) -> None:
    assert kept
    path = file_of(checkpoints)
    document = json.loads(path.read_bytes())
    document["checkpoint"]["format_version"] = 2
    path.write_text(json.dumps(document))
    assert checkpoints.finished(SHARD, PATH) is None


def test_a_huge_checkpoint_is_as_good_as_none(checkpoints: Checkpoints, kept: Checkpoint) -> None:
    path = file_of(checkpoints)
    path.write_bytes(path.read_bytes() + b" " * LARGEST_DOCUMENT)
    assert checkpoints.read(kept.index) is None


@pytest.mark.parametrize("rows", [-1, 2**63])
def test_a_checkpoint_that_counts_impossible_rows_is_as_good_as_none(
    checkpoints: Checkpoints, kept: Checkpoint, rows: int
) -> None:
    checkpoints.keep(kept.model_copy(update={"observed": {"distance": (rows,)}}))
    assert checkpoints.read(kept.index) is None
