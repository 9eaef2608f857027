"""A file of the lake is cut off, emptied or has a bit flipped: it is noticed, mended or named."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.lake.lease import LeaseInvalid

if TYPE_CHECKING:
    from batchinf_assets_tests.resilience.conftest import Desk

TABLES = {
    "snapshot": "snapshot/window=*/*.parquet",
    "features": "features/window=*/*.parquet",
    "shard": "predictions/window=*/*/part-00004.parquet",
}
SIGNED = {
    "manifest": "_manifests/*/" + "[0-9a-f]" * 16 + ".json",
    "signature": "_manifests/*/*.sig",
}
CHECKPOINT, LEASE = "_checkpoints/*/*/00004.json", "_leases/*.json"
CUT: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _content: b"",
    "half": lambda content: content[: len(content) // 2],
    "magic only": lambda _content: b"PAR1PAR1",
}
FLIPS = range(3)


def flipped(content: bytes, seed: int) -> bytes:
    chance = random.Random(seed)
    place, bit = chance.randrange(len(content)), 1 << chance.randrange(8)
    return content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :]


def only_file(desk: Desk, pattern: str) -> Path:
    (path,) = desk.folder.glob(pattern)
    return path


@pytest.mark.parametrize("damage", CUT)
@pytest.mark.parametrize("kind", TABLES)
def test_a_cut_table_file_is_reported_and_the_next_run_mends_it(
    desk: Desk, kind: str, damage: str
) -> None:
    before, path = desk.outputs(), only_file(desk, TABLES[kind])
    path.write_bytes(CUT[damage](path.read_bytes()))
    assert any(path.name in problem for problem in desk.verify().problems)
    desk.run("again")
    assert desk.verify().holds
    assert desk.outputs() == before


@pytest.mark.parametrize("seed", FLIPS)
@pytest.mark.parametrize("kind", TABLES)
def test_a_flipped_bit_of_a_table_file_is_reported_or_changes_no_row(
    desk: Desk, kind: str, seed: int
) -> None:
    before, path = desk.outputs(), only_file(desk, TABLES[kind])
    rows = pq.ParquetFile(path).read()
    path.write_bytes(flipped(path.read_bytes(), seed))
    reported = any(path.name in problem for problem in desk.verify().problems)
    assert reported or (kind != "shard" and _reads(path, rows))
    desk.run("again")
    assert desk.verify().holds
    assert desk.outputs() == before


@pytest.mark.parametrize("damage", CUT)
@pytest.mark.parametrize("kind", SIGNED)
def test_a_cut_manifest_or_signature_is_named_and_nothing_is_published_over_it(
    desk: Desk, kind: str, damage: str
) -> None:
    _refused_as_damaged(desk, SIGNED[kind], CUT[damage])


@pytest.mark.parametrize("seed", FLIPS)
@pytest.mark.parametrize("kind", SIGNED)
def test_a_flipped_bit_of_a_manifest_or_signature_is_named(
    desk: Desk, kind: str, seed: int
) -> None:
    _refused_as_damaged(desk, SIGNED[kind], lambda content: flipped(content, seed))


@pytest.mark.parametrize("damage", [*CUT, *FLIPS])
def test_a_damaged_checkpoint_costs_its_shard_and_no_other(desk: Desk, damage: str | int) -> None:
    before, path = desk.outputs(), only_file(desk, CHECKPOINT)
    content = path.read_bytes()
    path.write_bytes(flipped(content, damage) if isinstance(damage, int) else CUT[damage](content))
    only_file(desk, TABLES["shard"]).unlink()  # or nothing would be scored at all
    again = desk.run("again")
    assert again.shards is not None
    assert again.shards.computed == 1
    assert desk.outputs() == before


@pytest.mark.parametrize("damage", CUT)
def test_a_cut_lease_stops_runs_by_name_and_readers_not_at_all(desk: Desk, damage: str) -> None:
    seen, path = desk.seen(), only_file(desk, LEASE)
    path.write_bytes(CUT[damage](path.read_bytes()))
    with pytest.raises(LeaseInvalid, match=path.name):
        desk.run("again")
    assert desk.seen() == seen
    path.unlink()
    desk.run("after what the error says to do")
    assert desk.verify().holds


def _refused_as_damaged(desk: Desk, pattern: str, damage: Callable[[bytes], bytes]) -> None:
    seen, path = desk.seen(), only_file(desk, pattern)
    path.write_bytes(damage(path.read_bytes()))
    revision = desk.published
    assert any(revision in problem for problem in desk.verify().problems)
    with pytest.raises(ManifestInvalid, match=revision):
        desk.run("again")
    assert desk.seen() == seen


def _reads(path: Path, rows: pa.Table) -> bool:
    return pq.ParquetFile(path, page_checksum_verification=True).read().equals(rows)
