"""The manifest as a value and as JSON."""

import dataclasses
import json
from datetime import UTC, datetime
from typing import get_args

import pytest
from pydantic import BaseModel, ValidationError

from batchinf_assets.checks import CheckResult, Violation
from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.manifest.document import Manifest, declaration_digest, parse_manifest
from batchinf_assets.manifest.files import FileRecord, OutputRecord
from batchinf_assets.manifest.inputs import FeaturesRecord, SnapshotRecord, WindowRecord
from batchinf_assets.manifest.judgement import EvaluationRecord
from batchinf_assets.manifest.means import CodeRecord, ModelRecord, ParityOutcome, SettingsRecord
from batchinf_assets.manifest.values import LONGEST_TEXT
from batchinf_assets.manifest.work import CountsRecord, ResourcesRecord, ShardsRecord
from batchinf_assets.project import CHECKOUT
from batchinf_assets.spec.load import Pipeline

FORMAT = (CHECKOUT / "docs" / "formats" / "manifest.md").read_text(encoding="utf-8")
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
    declaration="9" * 64,
    snapshot=SnapshotRecord(digest="a" * 64, version=7, rows=3, source=LANDED),
    features=FeaturesRecord(
        digest="b" * 64,
        rows=3,
        definition="c" * 64,
        row_group_rows=2,
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
        parity=ParityOutcome(rows=9, largest_difference=1e-17, label_flips=0),
    ),
    code=CodeRecord(
        version="0.1.0",
        source="e" * 64,
        commit="7" * 40,
        lock="8" * 64,
        python="3.11.2",
        platform="Linux-6.1-x86_64-with-glibc2.36",
        libraries={"numpy": "2.4"},
    ),
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
    shards=ShardsRecord(planned=2, computed=1, reused=1),
    timings={"read": 0.25, "score": 1.0},
    resources=ResourcesRecord(cpu_seconds=1.5, peak_memory_bytes=1 << 28, workers=2),
    run_id="run",
    attempt=3,
    trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
    scored_at=datetime(2013, 7, 1, 5, 30, 0, 123456, tzinfo=UTC),
)


MODEL, WINDOW, OUTPUTS = (
    MANIFEST.model_dump(mode="json")[name] for name in ("model", "window", "outputs")
)


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


def test_a_draft_says_of_what_is_not_known_that_it_is_not() -> None:
    document = json.loads(MANIFEST.to_json())
    unknown = ("evaluation", "published_at", "declaration", "attempt", "trace_id", "resources")
    for name in unknown:
        del document[name]
    for name in ("key_id", "promotion", "parity"):
        del document["model"][name]
    draft = parse_manifest(json.dumps(document).encode(), "m.json")
    assert [getattr(draft, name) for name in unknown] == [None] * len(unknown)
    assert (draft.model.name, draft.model.key_id, draft.model.parity) == ("m", None, None)
    assert b'"trace_id": null' in draft.to_json()


@pytest.mark.parametrize("version", [1, 3, "2", None])
def test_a_document_of_another_format_is_refused(version: object) -> None:
    with pytest.raises(ManifestInvalid, match="format_version"):
        parse_manifest(changed(format_version=version), "m.json")


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"", "Invalid JSON"),
        (MANIFEST.to_json()[:-40], "Invalid JSON"),
        (b"[]", "m.json"),
        (changed(counts={"rows_in": 3, "scored": 2}), "counts.quarantined"),
        (changed(surprise=1), "surprise"),
        (changed(snapshot={"digest": "a"}), "snapshot.digest"),
        (changed(scored_at="yesterday"), "scored_at"),
        (changed(model={**MODEL, "digest": "../../x"}), "model.digest"),
        (changed(model={**MODEL, "name": "../m"}), "model.name"),
        (changed(revision="../x"), "revision"),
        (changed(window={**WINDOW, "key": "../x"}), "window.key"),
        (changed(window={**WINDOW, "start": "2013-07-01T04:00:00"}), "window.start"),
        (changed(trace_id="4BF9"), "trace_id"),
        (changed(attempt=0), "attempt"),
        (changed(timings={"read": -1.0}), "timings.read"),
        (changed(shards={"planned": 3, "computed": 1, "reused": 1}), "shards"),
        (changed(outputs=[*OUTPUTS, *OUTPUTS]), "named twice"),
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


PLACES = {
    "an output": ("outputs", 0, "path"),
    "the source": ("snapshot", "source", "path"),
    "a reference": ("features", "references", 0, "path"),
    "an absent file": ("features", "absent", 0),
    "the snapshot's table": ("snapshot", "table"),
}
TEXTS = {
    "the owner": ("owner",),
    "the run": ("run_id",),
    "the scorer": ("model", "scorer"),
    "a library": ("code", "libraries", "numpy"),
    "the platform": ("code", "platform"),
    "the model's version": ("model", "version"),
}


def planted(place: tuple[str | int, ...], text: str) -> bytes:
    document = json.loads(MANIFEST.to_json())
    inner = document
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = text
    return json.dumps(document).encode()


@pytest.mark.parametrize("place", {**PLACES, **TEXTS})
@pytest.mark.parametrize(
    "text",
    [
        "/srv/lake/x.parquet",
        "C:\\lake\\x.parquet",
        "\\\\server\\share",
        "~/lake/x.parquet",
        "s3://bucket/x.parquet",
        "https://key:secret@example.com/x",
        "two\nlines",
        "x" * (LONGEST_TEXT + 1),
    ],
)
def test_nothing_of_this_machine_and_no_url_fits_into_a_manifest(place: str, text: str) -> None:
    with pytest.raises(ManifestInvalid, match="must be"):
        parse_manifest(planted({**PLACES, **TEXTS}[place], text), "m.json")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("text", ["", "..", "../x.parquet", "window=1/../../x", "a\\..\\x"])
def test_paths_stay_below_their_folder(place: str, text: str) -> None:
    with pytest.raises(ManifestInvalid, match="relative path"):
        parse_manifest(planted(PLACES[place], text), "m.json")


def test_the_declaration_digest_is_of_everything_declared(pipeline: Pipeline) -> None:
    spec = pipeline.spec
    assert declaration_digest(spec) == declaration_digest(spec.model_copy())
    for change in ({"owner": "others@example.com"}, {"shard_rows": spec.shard_rows + 1}):
        assert declaration_digest(spec.model_copy(update=change)) != declaration_digest(spec)


def fields(model: type[BaseModel]) -> set[str]:
    """Every field of a document, those of the values in it too."""
    found = set(model.model_fields)
    for field in model.model_fields.values():
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                found |= fields(inner)
    return found | {field.name for field in dataclasses.fields(CheckResult)}


@pytest.mark.parametrize("name", sorted(fields(Manifest)))
def test_every_field_is_documented(name: str) -> None:
    assert f"`{name}`" in FORMAT
