"""Verifying: what holds is silent, each kind of fault has its own sentence."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchinf_assets.features.build import build_features, load_features
from batchinf_assets.lake.files import DataFile, write_parquet
from batchinf_assets.lake.table import WindowTable
from batchinf_assets.publishing.proof.verify import Verification, verify_window
from batchinf_assets.registry.keyring import read_keyring, write_keyring
from batchinf_assets.scoring.predictions import manifests, predictions_table
from batchinf_assets.snapshots.freeze import freeze_snapshot, load_snapshot
from batchinf_assets.spec.contract import ColumnSpec

if TYPE_CHECKING:
    from batchinf_assets_tests.publishing.desk import Desk

NOW = datetime(2013, 7, 4, 5, tzinfo=UTC)


@pytest.fixture
def published(desk: Desk) -> Desk:
    desk.publish()
    return desk


def verify(desk: Desk) -> Verification:
    found = verify_window(desk.project, desk.registry, desk.spec, desk.window)
    assert found.window == desk.window.key
    return found


def test_a_published_window_holds(published: Desk) -> None:
    found = verify(published)
    assert (found.revision, found.problems, found.holds) == (published.visible(), (), True)


def test_a_second_revision_holds_too(published: Desk) -> None:
    published.correct(lambda rows: rows.slice(1))
    published.prepare()
    published.publish()
    assert verify(published).holds


def test_a_lake_that_was_moved_still_holds(published: Desk, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "lake"
    shutil.copytree(published.project.lake, moved)
    shutil.rmtree(published.project.lake)
    assert verify(replace(published, project=replace(published.project, lake=moved))).holds


def test_a_window_published_before_a_column_was_declared_still_holds(published: Desk) -> None:
    postprocess = published.spec.postprocess
    assert postprocess is not None
    columns = {**postprocess.columns, "new": ColumnSpec(type="float64", nullable=True)}
    wider = postprocess.model_copy(update={"columns": columns})
    spec = published.spec.model_copy(update={"postprocess": wider})
    assert verify(replace(published, pipeline=replace(published.pipeline, spec=spec))).holds


def test_what_was_published_holds_after_its_models_signature_expired(published: Desk) -> None:
    """That it counted was checked when the window was scored and published."""
    keyring = read_keyring(published.project.keys)
    (key,) = keyring.keys
    past = key.model_copy(update={"not_after": NOW, "not_before": NOW - timedelta(days=1)})
    write_keyring(published.project.keys, keyring.model_copy(update={"keys": (past,)}))
    assert verify(published).holds


def test_a_forged_manifest_is_named_together_with_what_it_says_wrongly(published: Desk) -> None:
    miscount(published)
    problems = verify(published).problems
    assert len(problems) == len(FORGED)
    for sentence, problem in zip(FORGED, problems, strict=True):
        assert sentence in problem


def test_a_window_without_publication_does_not_hold(desk: Desk) -> None:
    found = verify(desk)
    assert (found.revision, found.holds) == (None, False)
    assert found.problems[0].startswith("Nothing is published.")


def table(desk: Desk) -> WindowTable:
    return predictions_table(desk.project, desk.spec)


def output(desk: Desk) -> Path:
    revision = desk.visible()
    assert revision is not None
    return desk.output(revision)


def flip_a_bit(desk: Desk) -> None:
    content = bytearray(output(desk).read_bytes())
    content[len(content) // 2] ^= 1
    output(desk).write_bytes(content)


def write_other_rows(desk: Desk) -> None:
    rows = pq.read_table(output(desk))
    pq.write_table(rows.slice(0, 700), output(desk))


def lose_the_file(desk: Desk) -> None:
    output(desk).unlink()


def lose_the_manifest(desk: Desk) -> None:
    manifests(desk.project, desk.spec).path(desk.window, desk.visible() or "").unlink()


def cut_the_manifest(desk: Desk) -> None:
    path = manifests(desk.project, desk.spec).path(desk.window, desk.visible() or "")
    path.write_bytes(path.read_bytes()[:100])


def lose_the_signature(desk: Desk) -> None:
    desk.signature().unlink()


def damage_the_signature(desk: Desk) -> None:
    content = bytearray(desk.signature().read_bytes())
    content[10] ^= 1
    desk.signature().write_bytes(content)


def change_the_owner(desk: Desk) -> None:
    desk.remanifest(owner="somebody@example.com")


def sign_another_manifest(desk: Desk) -> None:
    desk.sign_again(owner="somebody@example.com")


def swap_the_manifest(desk: Desk) -> None:
    desk.remanifest(revision="0" * 16)


def publish_a_stranger(desk: Desk) -> None:
    """Add a file by hand beside the one that the manifest names."""
    known = output(desk)
    rows = pq.read_table(known).slice(0, 5)
    extra = write_parquet(known.with_name("part-00001.parquet"), rows, {})
    first = DataFile(path=known, rows=737, bytes=known.stat().st_size, sha256="")
    table(desk).commit(desk.window, [first, extra], {})


def name_a_file_that_is_not_published(desk: Desk) -> None:
    manifest = manifests(desk.project, desk.spec).read(desk.window, desk.visible() or "")
    extra = manifest.outputs[0].model_copy(update={"path": "window=2013-07-04/x/y.parquet"})
    desk.remanifest(outputs=(*manifest.outputs, extra))


def miscount(desk: Desk) -> None:
    manifest = manifests(desk.project, desk.spec).read(desk.window, desk.visible() or "")
    desk.remanifest(counts=manifest.counts.model_copy(update={"scored": 999}))


def miscount_a_file(desk: Desk) -> None:
    outputs = desk.published().outputs
    desk.remanifest(outputs=(outputs[0].model_copy(update={"rows": 736}),))


def miscount_consistently(desk: Desk) -> None:
    manifest = manifests(desk.project, desk.spec).read(desk.window, desk.visible() or "")
    desk.remanifest(
        counts=manifest.counts.model_copy(update={"rows_in": 999, "scored": 999}),
        snapshot=manifest.snapshot.model_copy(update={"rows": 999, "landed": 999}),
        features=manifest.features.model_copy(update={"rows": 999}),
        outputs=(manifest.outputs[0].model_copy(update={"rows": 999}),),
    )


def forge_rows(desk: Desk, change: Callable[[pa.Table], pa.Table]) -> None:
    """Write other rows and a manifest that fits them."""
    rows = change(pq.read_table(output(desk)))
    file = write_parquet(output(desk), rows, {})
    manifest = manifests(desk.project, desk.spec).read(desk.window, desk.visible() or "")
    forged = {"sha256": file.sha256, "bytes": file.bytes}
    desk.remanifest(outputs=(manifest.outputs[0].model_copy(update=forged),))


def invent_a_flight(desk: Desk) -> None:
    def renumbered(rows: pa.Table) -> pa.Table:
        index = rows.schema.get_field_index("flight")
        flights = pa.array([9999, *rows["flight"].to_pylist()[1:]], pa.int32())
        return rows.set_column(index, rows.schema.field(index), flights)

    forge_rows(desk, renumbered)


def repeat_a_flight(desk: Desk) -> None:
    forge_rows(desk, lambda rows: pa.concat_tables([rows.slice(0, 1), rows.slice(0, 736)]))


def take_a_newer_snapshot(desk: Desk) -> None:
    desk.correct(lambda rows: rows.slice(1))
    freeze_snapshot(desk.project, desk.spec, desk.window)


def build_newer_features(desk: Desk) -> None:
    path = desk.project.landing / "planes.parquet"
    pq.write_table(pq.read_table(path).slice(0, 10), path)
    build_features(desk.project, desk.pipeline, desk.window)


def damage_the_snapshot(desk: Desk) -> None:
    load_snapshot(desk.project, desk.spec, desk.window).path.write_bytes(b"PAR1")


def lose_the_features(desk: Desk) -> None:
    load_features(desk.project, desk.spec, desk.window).path.unlink()


def model_file(desk: Desk, name: str) -> Path:
    (path,) = (desk.project.lake / "_models").rglob(name)
    return path


def change_the_model(desk: Desk) -> None:
    path = model_file(desk, "model.skops")
    path.write_bytes(path.read_bytes() + b"x")


def lose_the_model(desk: Desk) -> None:
    shutil.rmtree(model_file(desk, "model.json").parent)


def invent_a_promotion(desk: Desk) -> None:
    manifest = manifests(desk.project, desk.spec).read(desk.window, desk.visible() or "")
    desk.remanifest(model=manifest.model.model_copy(update={"promotion": 7}))


def forget_the_promotion(desk: Desk) -> None:
    """As in a manifest from before models were signed: nobody vouches for that model."""
    manifest = manifests(desk.project, desk.spec).read(desk.window, desk.visible() or "")
    desk.remanifest(model=manifest.model.model_copy(update={"promotion": None, "key_id": None}))


def change_the_promotion(desk: Desk) -> None:
    path = model_file(desk, "promotion.json")
    path.write_bytes(path.read_bytes().replace(b"The first model", b"A better reason"))


def add_a_file_to_the_model(desk: Desk) -> None:
    model_file(desk, "model.json").with_name("extra.json").write_text("{}")


def revoke_the_key(desk: Desk) -> None:
    keyring = read_keyring(desk.project.keys)
    revoked = keyring.without_trust_in(keyring.keys[0].id, at=NOW, reason="Laptop stolen")
    write_keyring(desk.project.keys, revoked)


def lose_the_keyring(desk: Desk) -> None:
    (desk.project.keys / "keyring.json").unlink()


def fail_a_check(desk: Desk) -> None:
    manifest = manifests(desk.project, desk.spec).read(desk.window, desk.visible() or "")
    first, *rest = manifest.checks
    desk.remanifest(checks=(replace(first, passed=False), *rest))


FORGED = (
    "is not of",
    "is not the manifest that was published",
    "all accounted for",
    "999 in the files (737 found)",
)

FAULTS: list[tuple[Callable[[Desk], None], str]] = [
    (flip_a_bit, r"part-00000\.parquet as scored \(bytes changed\)"),
    (write_other_rows, r"part-00000\.parquet as scored \(bytes changed\)"),
    (lose_the_file, r"part-00000\.parquet \(it is missing\)"),
    (lose_the_manifest, r"has no manifest at"),
    (cut_the_manifest, r"is no manifest"),
    (lose_the_signature, r"is not signed"),
    (damage_the_signature, r"the signature .* is not of .* as it is now"),
    (change_the_owner, r"the signature .* is not of .* as it is now"),
    (change_the_owner, r"is not the manifest that was published"),
    (sign_another_manifest, r"is not the manifest that was published"),
    (swap_the_manifest, r"is about revision 0000000000000000 of 2013-07-04"),
    (publish_a_stranger, r"part-00001\.parquet is published but not in the manifest"),
    (name_a_file_that_is_not_published, r"y\.parquet is in the manifest but not published"),
    (miscount, r"all accounted for"),
    (miscount_a_file, r"holds 737 rows, the manifest says 736"),
    (miscount_consistently, r"features.*cannot be read back"),
    (
        invent_a_flight,
        r"row_conservation: rows: expected among those given, found 1 row .*flight=9999",
    ),
    (repeat_a_flight, r"unique_key: rows: expected unique in their key, found 2 rows"),
    (damage_the_snapshot, r"snapshot.*cannot be read back|snapshot.*no readable footer"),
    (lose_the_features, r"features.*cannot be read back|features.*no readable footer"),
    (change_the_model, r"model\.skops.*\[changed_file\]"),
    (lose_the_model, r"is no folder.*\[missing_file\]"),
    (add_a_file_to_the_model, r"extra\.json does not belong to it.*\[added_file\]"),
    (invent_a_promotion, r"No signed promotion made flight_delays v1 the champion"),
    (forget_the_promotion, r"No signed promotion made flight_delays v1 the champion"),
    (change_the_promotion, r"\[bad_signature\]"),
    (revoke_the_key, r"Laptop stolen.*\[key_revoked\]"),
    (revoke_the_key, r"_manifests.* is signed with key .* revoked .*Laptop stolen"),
    (lose_the_keyring, r"There is no keyring"),
    (fail_a_check, r"Check snapshot/schema is on record as failed"),
]


@pytest.mark.parametrize("happen", [take_a_newer_snapshot, build_newer_features])
def test_what_is_published_holds_while_newer_inputs_wait_for_their_run(
    published: Desk, happen: Callable[[Desk], None]
) -> None:
    happen(published)
    assert verify(published).holds


@pytest.mark.parametrize(("plant", "sentence"), FAULTS, ids=[plant.__name__ for plant, _ in FAULTS])
def test_every_kind_of_fault_is_named(
    published: Desk, plant: Callable[[Desk], None], sentence: str
) -> None:
    revision = published.visible()
    plant(published)
    found = verify(published)
    assert not found.holds
    assert found.revision == revision
    assert any(re.search(sentence, problem) for problem in found.problems), found.problems
    assert all(problem.isprintable() for problem in found.problems)
