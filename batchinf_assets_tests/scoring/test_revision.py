"""A revision's id: a digest of everything that decides the output, and of nothing else."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from batchinf_assets.lake.digest import canonical_json
from batchinf_assets.manifest.files import FileRecord
from batchinf_assets.manifest.inputs import FeaturesRecord, SnapshotRecord
from batchinf_assets.manifest.means import CodeRecord, SettingsRecord
from batchinf_assets.scoring.revision import revision_id, scoring_settings
from batchinf_assets.spec.load import Pipeline, load_pipeline

FLIGHTS = load_pipeline("flight_delays")
SETTINGS = SettingsRecord(prediction_column="p", shard_rows=100, postprocess="0")
CODE = CodeRecord(version="1", source="e" * 64, python="3.11.7", libraries={"duckdb": "2.0.0"})
SNAPSHOT = SnapshotRecord(
    digest="a" * 64, rows=9, source=FileRecord(path="x.parquet", sha256="0" * 64, bytes=1)
)
FEATURES = FeaturesRecord(
    digest="b" * 64, rows=9, definition="c" * 64, references=(), absent=(), row_group_rows=3
)
PARTS = {
    "snapshot": SNAPSHOT,
    "features": FEATURES,
    "model": "d" * 64,
    "settings": SETTINGS,
    "code": CODE,
}


def digest_of(**judged: str) -> str:
    document = {
        "snapshot": "a" * 64,
        "features": "b" * 64,
        "definition": "c" * 64,
        "model": "d" * 64,
        "settings": SETTINGS.model_dump(),
        "code": ["e" * 64, "3.11.7", {"duckdb": "2.0.0"}],
        **judged,
    }
    return hashlib.sha256(canonical_json(document)).hexdigest()[:16]


def test_the_id_is_the_start_of_a_digest_of_its_parts() -> None:
    assert revision_id(**PARTS) == digest_of()


def test_contracts_and_what_was_set_aside_are_parts_where_they_are_known() -> None:
    judged = {"contract": "1" * 64, "rejected": "2" * 64, "quarantined": 1}
    snapshot = SNAPSHOT.model_copy(update=judged)
    features = FEATURES.model_copy(update={"contract": "3" * 64, "rejected": "4" * 64})
    assert revision_id(**{**PARTS, "snapshot": snapshot, "features": features}) == digest_of(
        contract="1" * 64,
        rejected="2" * 64,
        features_contract="3" * 64,
        features_rejected="4" * 64,
    )


@pytest.mark.parametrize(
    ("part", "name"),
    [
        *(("snapshot", name) for name in ("digest", "contract", "rejected")),
        *(("features", name) for name in ("digest", "definition", "contract", "rejected")),
    ],
)
def test_every_part_of_the_rows_decides(part: str, name: str) -> None:
    record = SNAPSHOT if part == "snapshot" else FEATURES
    other = record.model_copy(update={name: "f" * 64})
    assert revision_id(**{**PARTS, part: other}) != revision_id(**PARTS)


def test_the_model_decides() -> None:
    assert revision_id(**{**PARTS, "model": "f" * 64}) != revision_id(**PARTS)


def test_two_parts_that_change_places_are_another_revision() -> None:
    swapped = {
        "snapshot": SNAPSHOT.model_copy(update={"digest": FEATURES.digest}),
        "features": FEATURES.model_copy(update={"digest": SNAPSHOT.digest}),
    }
    assert revision_id(**{**PARTS, **swapped}) != revision_id(**PARTS)


def test_where_the_rows_landed_does_not_decide() -> None:
    source = FileRecord(path="y.parquet", sha256="1" * 64, bytes=2)
    moved = SNAPSHOT.model_copy(update={"source": source, "version": 7, "landed": 9})
    assert revision_id(**{**PARTS, "snapshot": moved}) == revision_id(**PARTS)


@pytest.mark.parametrize(
    "change", [{"prediction_column": "q"}, {"shard_rows": 99}, {"postprocess": "1"}]
)
def test_every_setting_decides(change: dict[str, object]) -> None:
    settings = SETTINGS.model_copy(update=change)
    assert revision_id(**{**PARTS, "settings": settings}) != revision_id(**PARTS)


def changed(**update: object) -> Pipeline:
    return replace(FLIGHTS, spec=FLIGHTS.spec.model_copy(update=update))


def test_settings_follow_what_decides_the_bytes_of_the_output(tmp_path: Path) -> None:
    spec = FLIGHTS.spec
    assert spec.postprocess is not None
    (tmp_path / "postprocess.sql").write_text(f"{FLIGHTS.postprocess_sql}-- other")
    bool_as_text = spec.postprocess.columns | {"late_expected": spec.postprocess.columns["risk"]}
    pipelines = [
        FLIGHTS,
        changed(shard_rows=100),
        changed(prediction=spec.prediction.model_copy(update={"column": "p"})),
        changed(postprocess=None),
        changed(postprocess=spec.postprocess.model_copy(update={"columns": bool_as_text})),
        replace(FLIGHTS, folder=tmp_path),
    ]
    settings = [scoring_settings(pipeline).model_dump_json() for pipeline in pipelines]
    assert len(set(settings)) == len(pipelines)


def test_settings_ignore_what_does_not_reach_the_output() -> None:
    spec = FLIGHTS.spec
    drift = spec.drift.model_copy(update={"major": 0.5})
    others = [changed(owner="x@example.com"), changed(schedule=None), changed(drift=drift)]
    assert all(scoring_settings(one) == scoring_settings(FLIGHTS) for one in others)


@pytest.mark.parametrize(
    "change", [{"source": "f" * 64}, {"python": "3.12.1"}, {"libraries": {"duckdb": "2.0.1"}}]
)
def test_code_and_libraries_decide(change: dict[str, object]) -> None:
    code = CODE.model_copy(update=change)
    assert revision_id(**{**PARTS, "code": code}) != revision_id(**PARTS)


def test_the_release_number_alone_does_not_decide() -> None:
    assert revision_id(**{**PARTS, "code": CODE.model_copy(update={"version": "2"})}) == (
        revision_id(**PARTS)
    )
