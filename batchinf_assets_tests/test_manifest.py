"""The manifest as a value and as JSON."""

import json
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from batchinf_assets.checks import CheckResult, Violation
from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.manifest import (
    CodeRecord,
    CountsRecord,
    EvaluationRecord,
    FeaturesRecord,
    FileRecord,
    Manifest,
    ModelRecord,
    OutputRecord,
    SettingsRecord,
    SnapshotRecord,
    WindowRecord,
    parse_manifest,
)

LANDED = FileRecord(path="flights/2013-07-01.parquet", sha256="5" * 64, bytes=123)

MANIFEST = Manifest(
    pipeline="flight_delays",
    owner="flights-ml@example.com",
    window=WindowRecord(
        key="2013-07-01",
        start=datetime(2013, 7, 1, 4, tzinfo=UTC),
        end=datetime(2013, 7, 2, 4, tzinfo=UTC),
    ),
    revision="0123456789abcdef",
    snapshot=SnapshotRecord(digest="a" * 64, rows=3, source=LANDED),
    features=FeaturesRecord(
        digest="b" * 64,
        rows=3,
        definition="c" * 64,
        references=(LANDED,),
        absent=("outcomes/2013-06-30.parquet",),
    ),
    model=ModelRecord(
        name="m",
        version="1",
        alias="champion",
        digest="d" * 64,
        scorer="trees/1",
        key_id="0123456789abcdef",
        promotion=2,
    ),
    code=CodeRecord(version="0.1.0", source="e" * 64, python="3.11.2", libraries={"numpy": "2.4"}),
    settings=SettingsRecord(prediction_column="p", shard_rows=2, postprocess="f" * 64),
    counts=CountsRecord(rows_in=3, scored=2, quarantined=1),
    outputs=(OutputRecord(path="window=2013-07-01/x.parquet", sha256="1" * 64, bytes=9, rows=2),),
    checks=(
        CheckResult(
            name="contract",
            asset="snapshot",
            passed=False,
            violations=(
                Violation(column="distance", rule="at least 1", count=2, samples=("k=1",)),
            ),
            measured={"rows": 3, "share": 0.5, "verdict": "stable"},
        ),
    ),
    evaluation=EvaluationRecord(
        golden={"rows": 5, "auroc": 0.7, "recall": None}, psi={"x": None}, drift_verdict="stable"
    ),
    run_id="run",
    scored_at=datetime(2013, 7, 1, 5, 30, 0, 123456, tzinfo=UTC),
)


MODEL = MANIFEST.model.model_dump()


def changed(**values: object) -> bytes:
    return json.dumps({**json.loads(MANIFEST.to_json()), **values}).encode()


def test_a_manifest_reads_back_as_it_was_written() -> None:
    assert parse_manifest(MANIFEST.to_json(), "m.json") == MANIFEST


def test_equal_manifests_give_equal_bytes() -> None:
    content = MANIFEST.to_json()
    assert parse_manifest(content, "m.json").to_json() == content
    assert content.endswith(b"}\n")


def test_integers_and_fractions_stay_what_they_are() -> None:
    read = parse_manifest(MANIFEST.to_json(), "m.json")
    measured = read.checks[0].measured
    assert [type(measured[name]) for name in ("rows", "share", "verdict")] == [int, float, str]
    assert read.evaluation is not None
    assert read.evaluation.golden["recall"] is None


def test_a_document_written_before_evaluation_and_publishing_is_a_draft() -> None:
    document = json.loads(MANIFEST.to_json())
    del document["evaluation"], document["published_at"], document["format_version"]
    draft = parse_manifest(json.dumps(document).encode(), "m.json")
    assert (draft.evaluation, draft.published_at, draft.format_version) == (None, None, 1)


def test_a_document_written_before_models_were_signed_stays_readable() -> None:
    document = json.loads(MANIFEST.to_json())
    del document["model"]["key_id"], document["model"]["promotion"]
    model = parse_manifest(json.dumps(document).encode(), "m.json").model
    assert (model.name, model.key_id, model.promotion) == ("m", None, None)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"", "Invalid JSON"),
        (MANIFEST.to_json()[:-40], "Invalid JSON"),
        (b"[]", "m.json"),
        (changed(counts={"rows_in": 3, "scored": 2}), "counts.quarantined"),
        (changed(surprise=1), "surprise"),
        (changed(snapshot={"digest": "a"}), "snapshot.rows"),
        (changed(scored_at="yesterday"), "scored_at"),
        (changed(model={**MODEL, "digest": "../../x"}), "model.digest"),
        (changed(model={**MODEL, "name": "../m"}), "model.name"),
    ],
)
def test_what_is_no_manifest_is_named_with_its_place(content: bytes, named: str) -> None:
    with pytest.raises(ManifestInvalid) as refusal:
        parse_manifest(content, "m.json")
    assert refusal.value.message.startswith("m.json is no manifest: ")
    assert named in refusal.value.message
    assert "\n" not in str(refusal.value)


def test_a_manifest_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValidationError):
        MANIFEST.revision = "other"
