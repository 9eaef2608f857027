"""A pipeline that predicts one of three classes: does a flight arrive early, on time or late?

It is declared in a folder of the test's own, as the regression of `arrival_delay` is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from batchinf_assets.spec.load import Pipeline, load_pipeline
from batchinf_assets_tests.end_to_end.arrival_delay import NAME, TRAIN, declare

CLASSES = ("early", "on_time", "late")
LABEL = """CASE
    WHEN arrival_delay < -5 THEN 'early'
    WHEN arrival_delay <= 15 THEN 'on_time'
    WHEN arrival_delay > 15 THEN 'late'
END"""

DECLARED: Mapping[str, Any] = {
    "description": "Does this flight arrive early, on time or late?",
    "prediction": {"column": "arrival", "kind": "multiclass", "classes": [*CLASSES]},
    "golden": {
        "file": "golden.parquet",
        "label": "arrived",
        "at_least": {"accuracy": 0.3, "macro_f1": 0.1, "weighted_f1": 0.1},
        "at_most": {"log_loss": 3.0},
        "segments": ["origin_airport"],
    },
    "performance": {
        "at_least": {"macro_f1": 0.05},
        "at_most": {"log_loss": 5.0},
        "min_labelled_share": 0.3,
        "segments": ["origin_airport"],
        "trailing": [2, 4],
    },
}


def declare_classes(root: Path, label: str = LABEL, **changed: Any) -> Pipeline:
    """Write the declaration below a folder and load it."""
    model = {**declare_model(), **changed.pop("model", {})}
    pipeline = declare(root, **{**DECLARED, "model": model, **changed})
    path = pipeline.folder / "defs.yaml"
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    document["attributes"]["outcomes"]["label"] = label
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    train = TRAIN.replace("HistGradientBoostingRegressor", "HistGradientBoostingClassifier")
    (pipeline.folder / "train.py").write_text(train, encoding="utf-8")
    return load_pipeline(NAME, root / "defs")


def declare_model() -> dict[str, Any]:
    from batchinf_assets_tests.end_to_end.arrival_delay import DECLARED as NUMBER

    promotion = {**NUMBER["model"]["promotion"], "margin": {"accuracy": 0.5, "log_loss": 2.0}}
    return {**NUMBER["model"], "promotion": promotion}
