"""A pipeline that predicts a number: by how many minutes a flight arrives late.

It is declared in a folder of the test's own, from the demo's declaration, and learns a few days.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from dagster_shared.utils.warnings import disable_dagster_warnings

from batchinf_assets.evaluation.golden.golden_provenance import LearnedFrom
from batchinf_assets.orchestration.component import pipeline_definitions
from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.orchestration.runs.execute import RunReport, run_job
from batchinf_assets.project import CHECKOUT, Project
from batchinf_assets.promotion.promote import Decision, Promoted, promote
from batchinf_assets.registry.keyring import init_keys
from batchinf_assets.registry.keys import SigningKey
from batchinf_assets.registry.registry import Registry
from batchinf_assets.spec.load import DEFS_FOLDER, Pipeline, load_pipeline
from batchinf_assets.training.golden_draw import GoldenDraw, draw_golden_set, write_golden_set
from batchinf_assets.training.register import RegisteredModel, train_and_register
from batchinf_assets.windows import Window
from batchinf_demo.landing import land

NAME = "arrival_delay"
FIRST, LAST = date(2013, 6, 1), date(2013, 6, 22)
TRAINING = {"start": date(2013, 6, 8), "end": date(2013, 6, 14)}
GOLDEN = ("2013-06-14", "2013-06-17")
SINCE = datetime(2013, 1, 1, tzinfo=UTC)

DECLARED: Mapping[str, Any] = {
    "name": NAME,
    "description": "By how many minutes will this flight arrive late?",
    "prediction": {"column": "arrival_delay_minutes", "kind": "regression", "quantile": 0.8},
    "golden": {
        "file": "golden.parquet",
        "label": "minutes",
        "at_least": {"r_squared": -1.0, "bias": -60.0},
        "at_most": {"mae": 60.0, "bias": 60.0},
        "segments": ["origin_airport"],
    },
    "performance": {
        "at_most": {"mae": 100.0},
        "min_labelled_share": 0.3,
        "segments": ["origin_airport", "distance_miles"],
        "trailing": [2, 4],
    },
    "model": {
        "name": NAME,
        "alias": "champion",
        "training": TRAINING,
        "challenger": {"windows": 5, "holdout": 2},
        "promotion": {
            "margin": {"r_squared": 0.5, "mae": 5.0},
            "resamples": 200,
            "canary": {"share": 1.0, "max_shift": 1.5, "segments": ["origin_airport"]},
        },
    },
}

TRAIN = """
import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder


def train(features, labels):
    encode = ColumnTransformer(
        [
            (
                "categories",
                OrdinalEncoder(
                    handle_unknown="use_encoded_value", unknown_value=np.nan, dtype=np.float64
                ),
                ["carrier_code", "origin_airport", "destination_airport"],
            )
        ],
        remainder="passthrough",
        verbose_feature_names_out=False,
    )
    boost = HistGradientBoostingRegressor(max_iter=20, early_stopping=False, random_state=1)
    return Pipeline([("encode", encode), ("boost", boost)]).fit(features, labels)
"""


class OwnWorkplace(Workplace):
    """A workplace whose root is no checkout: the golden set lies in the test's own folder."""

    root: str

    def project(self) -> Project:
        return project_in(Path(self.root))


@dataclass(frozen=True)
class Airline:
    """Somebody who predicts delays.

    Attributes:
        project: Three weeks of June 2013 have landed.
        pipeline: Learns six days of them.
        key: Signs, and is trusted.
        registered: The first version.
        promoted: Its promotion.
    """

    project: Project
    pipeline: Pipeline
    key: SigningKey
    registered: RegisteredModel
    promoted: Promoted

    @property
    def registry(self) -> Registry:
        return Registry.at(self.project, {})

    def windows(self, first: str, last: str) -> list[Window]:
        return list(self.pipeline.spec.window.between(first, last))

    def run(self, instance: dg.DagsterInstance, windows: list[Window]) -> RunReport:
        workplace = OwnWorkplace(root=str(self.project.root))
        with disable_dagster_warnings():
            found = dg.Definitions.merge(
                pipeline_definitions(self.pipeline),
                dg.Definitions(resources={"workplace": workplace}, executor=dg.in_process_executor),
            )
            job = found.resolve_job_def(self.pipeline.name)
        return run_job(job, instance, windows, lambda _window, _asset: None)


def declare(root: Path, **changed: Any) -> Pipeline:
    """Write the declaration below a folder and load it."""
    folder = root / "defs" / NAME
    shutil.copytree(DEFS_FOLDER / "flight_delays", folder, dirs_exist_ok=True)
    document = yaml.safe_load((folder / "defs.yaml").read_text(encoding="utf-8"))
    attributes = {**document["attributes"], **DECLARED, **changed}
    attributes["outcomes"] = {**attributes["outcomes"], "label": "arrival_delay"}
    attributes.pop("postprocess")
    document = {**document, "attributes": attributes}
    (folder / "defs.yaml").write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    (folder / "train.py").write_text(TRAIN, encoding="utf-8")
    (folder / "postprocess.sql").unlink()
    return load_pipeline(NAME, root / "defs")


def project_in(root: Path) -> Project:
    return Project(
        root=root,
        lake=root / "lake",
        landing=root / "landing",
        dagster_home=root / "dagster",
        keys=root / "keys",
    )


def found_airline(root: Path, declared: Callable[[Path], Pipeline] = declare) -> Airline:
    """Land, draw a golden set, train, sign and promote."""
    pipeline, project = declared(root), project_in(root)
    project.dagster_home.mkdir()
    shutil.copy2(CHECKOUT / "deploy" / "local" / "dagster.yaml", project.dagster_home)
    land(project.landing, first=FIRST, last=LAST)
    draw_golden(project, pipeline)
    now = datetime.now(UTC)
    key = init_keys(project.keys, not_before=SINCE, not_after=now + timedelta(days=2))
    registry = Registry.at(project, {})
    registered = train_and_register(project, registry, pipeline, key, lambda *_: None, now=now)
    decision = Decision(alias="champion", reason="The first model", by="tests", at=now)
    promoted = promote(project, registry, [pipeline], key, registered.version, decision)
    return Airline(project, pipeline, key, registered, promoted)


def draw_golden(project: Project, pipeline: Pipeline) -> None:
    training = pipeline.spec.model.training
    draw = GoldenDraw(
        windows=pipeline.spec.window.between(*GOLDEN),
        rows=600,
        segments=("origin_airport",),
        version="1",
        at=SINCE,
        apart_from=(LearnedFrom(what="declared training", start=training.start, end=training.end),),
    )
    drawn = draw_golden_set(project, pipeline, draw, lambda *_: None)
    write_golden_set(project.root / pipeline.spec.golden.file, drawn, pipeline.spec)
