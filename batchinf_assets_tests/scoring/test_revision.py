"""A revision's id: a digest of everything that decides the output, and of nothing else."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from batchinf_assets.lake.digest import canonical_json
from batchinf_assets.manifest import CodeRecord, SettingsRecord
from batchinf_assets.scoring.revision import revision_id, scoring_settings
from batchinf_assets.spec import Pipeline, load_pipeline

FLIGHTS = load_pipeline("flight_delays")
SETTINGS = SettingsRecord(prediction_column="p", shard_rows=100, postprocess="0")
CODE = CodeRecord(version="1", source="e" * 64, python="3.11.7", libraries={"duckdb": "2.0.0"})
PARTS = {
    "snapshot": "a" * 64,
    "features": "b" * 64,
    "definition": "c" * 64,
    "model": "d" * 64,
    "settings": SETTINGS,
    "code": CODE,
}


def test_the_id_is_the_start_of_a_digest_of_its_parts() -> None:
    document = canonical_json(
        {
            **PARTS,
            "settings": SETTINGS.model_dump(),
            "code": ["e" * 64, "3.11.7", {"duckdb": "2.0.0"}],
        }
    )
    assert revision_id(**PARTS) == hashlib.sha256(document).hexdigest()[:16]


@pytest.mark.parametrize("part", [name for name in PARTS if name not in ("settings", "code")])
def test_every_part_decides(part: str) -> None:
    assert revision_id(**{**PARTS, part: "f" * 64}) != revision_id(**PARTS)


def test_two_parts_that_change_places_are_another_revision() -> None:
    swapped = {**PARTS, "snapshot": PARTS["features"], "features": PARTS["snapshot"]}
    assert revision_id(**swapped) != revision_id(**PARTS)


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
