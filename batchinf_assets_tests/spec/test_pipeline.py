"""What a declaration may say, and how a wrong one is refused."""

from __future__ import annotations

import copy
import math
import shutil
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from batchinf_assets.errors import InvalidSpec, UnknownPipeline
from batchinf_assets.spec.contract import ColumnSpec
from batchinf_assets.spec.load import DEFS_FOLDER, load_pipeline, pipeline_names
from batchinf_assets.spec.pipeline import PipelineSpec

TOY = {
    "name": "toy",
    "description": "A toy.",
    "owner": "toys@example.com",
    "team": "toys",
    "window": {"every": "day", "start": "2013-01-01"},
    "source": {
        "files": "in/{window}.parquet",
        "key": ["id"],
        "time": "at",
        "columns": {
            "id": {"type": "int64"},
            "at": {"type": "timestamp"},
            "place": {"type": "string", "nullable": True},
        },
    },
    "outcomes": {
        "files": "out/{window}.parquet",
        "known_at": "seen",
        "label": "y > 0",
        "columns": {
            "id": {"type": "int64"},
            "seen": {"type": "timestamp"},
            "y": {"type": "float64", "nullable": True},
        },
    },
    "references": {
        "weather": {
            "file": "weather.parquet",
            "as_of": {"time": "observed", "match": ["place"], "lag": "PT1H", "max_age": "PT3H"},
            "columns": {"place": {"type": "string"}, "observed": {"type": "timestamp"}},
        }
    },
    "features": {"columns": {"size": {"type": "float64"}}},
    "model": {"name": "toy", "training": {"start": "2013-01-01", "end": "2013-02-01"}},
    "prediction": {"column": "score"},
    "postprocess": {"columns": {"band": {"type": "string"}}},
    "golden": {"file": "golden/toy.parquet", "at_least": {"auroc": 0.5}},
}


def toy(**changes: object) -> PipelineSpec:
    """The toy with other values at dotted places; `__` stands for a dot."""
    document = copy.deepcopy(TOY)
    for place, value in changes.items():
        *parents, name = place.split("__")
        part = document
        for parent in parents:
            part = part[parent]
        part[name] = value
    return PipelineSpec.model_validate(document)


@pytest.fixture
def defs(tmp_path: Path) -> Path:
    """A folder with the toy pipeline in it."""
    folder = tmp_path / "defs" / "toy"
    folder.mkdir(parents=True)
    (folder / "defs.yaml").write_text(yaml.safe_dump({"type": "x", "attributes": TOY}))
    return folder.parent


def test_the_toy_is_a_pipeline() -> None:
    spec = toy()
    assert list(spec.feature_table) == ["id", "size"]
    assert list(spec.prediction_table) == ["id", "score", "band"]
    assert spec.prediction_table["score"] == ColumnSpec(type="float64", min=0.0, max=1.0)
    assert list(spec.key_columns) == ["id"]


def test_a_pipeline_needs_no_outcomes_references_or_postprocessing() -> None:
    spec = toy(outcomes=None, references={}, postprocess=None)
    assert list(spec.prediction_table) == ["id", "score"]


def test_what_conditions_run_is_not_scheduled_too() -> None:
    assert toy(automation="declarative").schedule is None
    with pytest.raises(ValidationError, match="schedule would run what automation: declarative"):
        toy(automation="declarative", schedule="15 0 * * *")


def test_every_committed_pipeline_is_valid() -> None:
    assert "flight_delays" in pipeline_names()
    for name in pipeline_names():
        pipeline = load_pipeline(name)
        assert pipeline.features_sql
        assert pipeline.training_script.is_file()


@pytest.mark.parametrize("value", ["/etc/passwd", "../x", "a/../../x", "a/..", "", ".", "a\0b"])
@pytest.mark.parametrize(
    "place",
    ["references__weather__file", "features__sql", "golden__file", "model__training__script"],
)
def test_a_path_that_leaves_its_folder_is_refused(place: str, value: str) -> None:
    with pytest.raises(ValidationError, match=r"relative path without '\.\.'"):
        toy(**{place: value})


@pytest.mark.parametrize("place", ["source__files", "outcomes__files"])
@pytest.mark.parametrize(
    "value", ["in/day.parquet", "../{window}.parquet", "/{window}", "{window}/{window}.parquet"]
)
def test_a_landing_pattern_names_the_window_once_below_the_folder(place: str, value: str) -> None:
    with pytest.raises(ValidationError, match=r"window} once|relative path"):
        toy(**{place: value})


@pytest.mark.parametrize(
    "rules",
    [
        {"type": "int32", "min": 2, "max": 1},
        {"type": "float64", "min": math.nan},
        {"type": "float64", "max": math.nan},
        {"type": "float64", "max": math.inf},
        {"type": "string", "min": 1},
        {"type": "timestamp", "max": 1},
        {"type": "bool", "min": 0},
        {"type": "int32", "allowed": ["1"]},
        {"type": "decimal"},
        {"type": "string", "nullabel": True},
    ],
)
def test_rules_that_no_value_or_every_value_keeps_are_refused(rules: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ColumnSpec.model_validate(rules)


def test_a_bound_may_be_met_by_one_value_only() -> None:
    assert ColumnSpec(type="int32", min=1, max=1).max == 1


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("golden__at_least", {"auroc": math.nan}),
        ("golden__at_most", {"brier": math.inf}),
        ("golden__decision", math.nan),
        ("prediction__min", math.nan),
        ("prediction__max", math.inf),
        ("drift", {"moderate": math.nan}),
        ("drift", {"major": math.inf}),
    ],
)
def test_a_bound_that_nothing_can_break_is_refused(place: str, value: object) -> None:
    with pytest.raises(ValidationError, match=r"finite number|greater than"):
        toy(**{place: value})


@pytest.mark.parametrize(
    ("place", "value", "problem"),
    [
        ("prediction", {"column": "score", "min": 1, "max": 0}, "min 1 is above max 0"),
        ("drift", {"moderate": 0.3, "major": 0.2}, "moderate 0.3 is above major 0.2"),
        ("model__training__end", "2013-01-01", "training.end must be after"),
        ("references__weather__as_of__max_age", "PT59M", "max_age is below as_of.lag"),
        ("references__weather__as_of__lag", "-PT1H", "lag"),
        ("shard_rows", 0, "shard_rows"),
        ("golden__at_least", {"lift": 0.5}, "lift"),
        ("owner", "somebody", "owner"),
        ("name", "Toy", "name"),
        ("team", "a b", "team"),
    ],
)
def test_values_that_contradict_each_other_or_their_type_are_refused(
    place: str, value: object, problem: str
) -> None:
    with pytest.raises(ValidationError, match=problem):
        toy(**{place: value})


@pytest.mark.parametrize("name", ["snapshot", "source", "outcomes", "scored"])
def test_a_reference_cannot_take_the_name_of_a_view(name: str) -> None:
    with pytest.raises(ValidationError, match=f"references cannot be called {name}"):
        toy(references={name: {"file": "f.parquet", "columns": {"a": {"type": "string"}}}})


@pytest.mark.parametrize(
    "name", ["Weather", "1st", "wea-ther", "wea ther", "_w", "x" * 64, 'w"; DROP TABLE x; --', ""]
)
def test_names_are_plain_lower_case_words(name: str) -> None:
    column = {"type": "float64"}
    with pytest.raises(ValidationError):
        toy(features__columns={name: column})
    with pytest.raises(ValidationError):
        toy(references={name: {"file": "f.parquet", "columns": {"a": column}}})
    with pytest.raises(ValidationError):
        toy(prediction={"column": name})


@pytest.mark.parametrize("label", ["size", "id"])
def test_the_golden_label_is_no_feature_and_no_key(label: str) -> None:
    with pytest.raises(ValidationError, match=f"'{label}' names the label"):
        toy(golden__label=label)


def test_no_feature_is_called_like_the_label_that_training_adds() -> None:
    with pytest.raises(ValidationError, match="'label' names the label"):
        toy(features__columns={"label": {"type": "float64"}}, golden__label="late")


@pytest.mark.parametrize("name", ["id", "window"])
def test_features_and_outputs_cannot_be_called_like_what_the_tables_carry(name: str) -> None:
    for place in ("features__columns", "postprocess__columns"):
        with pytest.raises(ValidationError, match=f"'{name}' is taken"):
            toy(**{place: {name: {"type": "float64"}}})
    with pytest.raises(ValidationError, match=f"'{name}' is taken"):
        toy(prediction__column=name)


def test_the_score_has_a_name_of_its_own() -> None:
    with pytest.raises(ValidationError, match="'size' names the score and another column"):
        toy(prediction__column="size")
    with pytest.raises(ValidationError, match="'score' names the score and another column"):
        toy(postprocess__columns={"score": {"type": "float64"}})


def test_a_key_names_no_column_twice() -> None:
    with pytest.raises(ValidationError, match="names a column twice"):
        toy(source__key=["id", "id"])


@pytest.mark.parametrize(
    ("place", "value", "problem"),
    [
        ("source__key", ["missing"], "source.columns lacks 'missing'"),
        ("source__key", ["place"], "'place' cannot be nullable"),
        ("source__key", [], "source.key"),
        ("source__time", "id", "'id' must have type timestamp"),
        ("source__time", "when", "lacks 'when'"),
        ("outcomes__known_at", "y", "lacks a timestamp 'y'"),
        ("outcomes__known_at", "z", "lacks a timestamp 'z'"),
        ("outcomes__columns", {"seen": {"type": "timestamp"}}, "every source.key column"),
        ("outcomes__history", -1, "history"),
        ("references__weather__as_of__time", "place", "must have type timestamp"),
        ("references__weather__as_of__time", "z", "columns lacks 'z'"),
        ("references__weather__as_of__match", ["z"], "columns lacks 'z'"),
        ("references__weather__as_of__match", ["observed"], "no source column"),
        ("features__columns", {}, "features.columns"),
        ("features__columns", {"x": {"type": "date"}}, "derive a number"),
        ("features__columns", {"x": {"type": "timestamp"}}, "derive a number"),
    ],
)
def test_columns_that_are_not_there_or_do_not_fit_are_named(
    place: str, value: object, problem: str
) -> None:
    with pytest.raises(ValidationError, match=problem):
        toy(**{place: value})


def test_an_unknown_word_is_refused() -> None:
    with pytest.raises(ValidationError, match="schedul"):
        toy(schedul="0 0 * * *")


def test_a_declaration_reads_back_from_its_file(defs: Path) -> None:
    pipeline = load_pipeline("toy", defs)
    assert (pipeline.spec, pipeline.folder, pipeline.name) == (toy(), defs / "toy", "toy")
    assert pipeline_names(defs) == ["toy"]


@pytest.mark.parametrize("name", ["toys", "../toy", "", "x" * 500])
def test_an_unknown_pipeline_is_named_beside_the_known_ones(defs: Path, name: str) -> None:
    with pytest.raises(UnknownPipeline) as refusal:
        load_pipeline(name, defs)
    assert name[:64] in refusal.value.message
    assert len(refusal.value.message) < 120
    assert refusal.value.next_step == "Known: toy."


def test_without_pipelines_none_is_known(tmp_path: Path) -> None:
    with pytest.raises(UnknownPipeline, match="none yet"):
        load_pipeline("toy", tmp_path)


def test_a_folder_and_its_pipeline_have_the_same_name(defs: Path) -> None:
    shutil.copytree(defs / "toy", defs / "other")
    with pytest.raises(InvalidSpec, match=r"other/defs\.yaml declares the name 'toy'"):
        load_pipeline("other", defs)


def test_every_problem_of_a_declaration_is_named_with_its_place(defs: Path) -> None:
    broken = {**TOY, "owner": "nobody", "window": {"every": "day"}}
    (defs / "toy" / "defs.yaml").write_text(yaml.safe_dump({"attributes": broken}))
    with pytest.raises(InvalidSpec) as refusal:
        load_pipeline("toy", defs)
    assert refusal.value.message.startswith("toy/defs.yaml: ")
    assert "owner: " in refusal.value.message
    assert "window.start is missing" in refusal.value.message
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("text", ["", "type: x", "attributes", "- 1", "name: toy\nowner: x"])
def test_a_file_that_is_no_component_is_told_how_one_begins(defs: Path, text: str) -> None:
    (defs / "toy" / "defs.yaml").write_text(text)
    with pytest.raises(InvalidSpec) as refusal:
        load_pipeline("toy", defs)
    assert refusal.value.message == "toy/defs.yaml is not a component file."
    assert "`type: batchinf_assets.orchestration.component.BatchPipeline`" in str(refusal.value)
    assert "below `attributes:`" in refusal.value.next_step


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[", "in line 1, column 2: "),
        ("a: b: c", "in line 1, column 5: "),
        ("\t", "in line 1, column 1: "),
        ("attributes:\n    name: toy\n  owner: x\n", "in line 3, column 3: "),
    ],
)
def test_a_file_that_is_no_yaml_is_refused_by_its_line(defs: Path, text: str, where: str) -> None:
    (defs / "toy" / "defs.yaml").write_text(text)
    with pytest.raises(InvalidSpec) as refusal:
        load_pipeline("toy", defs)
    assert refusal.value.message.startswith(f"toy/defs.yaml is no YAML {where}")
    assert "\n" not in str(refusal.value)


def test_a_name_that_stands_twice_in_the_file_is_refused(defs: Path) -> None:
    # YAML would let the second one win: a column's bounds would be gone without a word.
    path = defs / "toy" / "defs.yaml"
    text = path.read_text()
    path.write_text(text.replace("attributes:\n", "attributes:\n  name: toy\n"))
    with pytest.raises(InvalidSpec, match="'name' stands twice"):
        load_pipeline("toy", defs)


def test_a_missing_file_beside_the_declaration_is_named(defs: Path) -> None:
    with pytest.raises(InvalidSpec, match=r"names features\.sql, but toy/ has no such file"):
        _ = load_pipeline("toy", defs).features_sql
    with pytest.raises(InvalidSpec, match=r"train\.py"):
        _ = load_pipeline("toy", defs).training_script


def test_the_default_folder_is_that_of_the_package() -> None:
    assert (DEFS_FOLDER / "flight_delays" / "defs.yaml").is_file()


def test_what_is_kept_how_long_has_defaults_and_bounds() -> None:
    assert PipelineSpec.model_validate(TOY).retention.model_dump() == {
        "superseded_days": 90,
        "staging_days": 2,
        "compact_below_mb": 16,
    }
    declared = {"superseded_days": 0, "staging_days": 1}
    spec = PipelineSpec.model_validate({**TOY, "retention": declared})
    assert (spec.retention.superseded_days, spec.retention.staging_days) == (0, 1)


@pytest.mark.parametrize(
    "retention",
    [
        {"superseded_days": -1},
        {"superseded_days": 10**9},  # no date lies that far back
        {"staging_days": 0},  # a run that works now has written its files today
        {"compact_below_mb": 0},
        {"keep_days": 3},
    ],
)
def test_a_retention_that_keeps_too_little_or_is_misspelled_is_refused(
    retention: dict[str, int],
) -> None:
    with pytest.raises(ValidationError):
        PipelineSpec.model_validate({**TOY, "retention": retention})
