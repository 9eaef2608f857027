"""The files of a drafted pipeline: `defs.yaml`, `features.sql` and `train.py`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from batchinf_assets.contracts.infer import Proposal
from batchinf_assets.contracts.infer_yaml import flow, source_lines
from batchinf_assets.lake.query import query, quoted
from batchinf_assets.scaffold.draft import Draft
from batchinf_assets.scaffold.drop import Drop
from batchinf_assets.spec.contract import ColumnSpec
from batchinf_assets.spec.load import COMPONENT


@dataclass(frozen=True, kw_only=True)
class Said:
    """What no file tells.

    Attributes:
        name: The pipeline's name.
        label: SQL over the outcomes' columns: the condition that is predicted.
        owner: An email address.
        team: Whose runs they are.
        timezone: Whose clock the names of files follow.
    """

    name: str
    label: str
    owner: str
    team: str
    timezone: str


def pipeline_texts(said: Said, source: Drop, outcomes: Drop, draft: Draft) -> dict[str, str]:
    """Write the files of a pipeline.

    Returns:
        Text by name, for the pipeline's folder.
    """
    return {
        "defs.yaml": "\n".join(_declaration(said, source, outcomes, draft)) + "\n",
        "features.sql": _features_sql(draft),
        "train.py": _training_script(said.name, draft),
    }


def _declaration(said: Said, source: Drop, outcomes: Drop, draft: Draft) -> Iterator[str]:
    windows = {"every": source.every, "start": draft.training[0], "timezone": said.timezone}
    if source.starts_at != "00:00":
        windows["starts_at"] = source.starts_at
    start, end = draft.training
    yield f"type: {COMPONENT}"
    yield ""
    yield "attributes:"
    yield f"  name: {said.name}"
    yield f"  description: {flow(f'Which rows will be: {said.label}')}"
    yield f"  owner: {flow(said.owner)}"
    yield f"  team: {flow(said.team)}"
    yield f"  window: {flow(windows)}"
    yield ""
    yield f"  # Proposed from {draft.seen}."
    yield from (f"  {line}" for line in source_lines(draft.source, source.pattern))
    yield ""
    yield "  outcomes:"
    yield f"    files: {flow(outcomes.pattern)}"
    yield f"    known_at: {flow(draft.known_at)}"
    yield f"    label: {flow(said.label)}"
    yield "    columns:"
    yield from _columns(_typed(draft.outcomes))
    yield ""
    yield "  features:"
    yield "    columns:"
    yield from _columns({name: _as_feature(spec) for name, spec in draft.features.items()})
    yield ""
    yield f"  model: {{name: {said.name}, training: {{start: {start}, end: {end}}}}}"
    yield "  prediction: {column: probability}"
    yield "  # Below what a model is worth nothing, as in at_least: {auroc: 0.7}, is yours to say."
    yield f"  golden: {{file: data/golden/{said.name}.parquet, decision: 0.5}}"


def _typed(outcomes: Proposal) -> dict[str, dict[str, object]]:
    return {name: _document(spec.type, spec) for name, spec in outcomes.declarable.items()}


def _as_feature(spec: ColumnSpec) -> dict[str, object]:
    return _document("string" if spec.type == "string" else "float64", spec)


def _document(type_: str, spec: ColumnSpec) -> dict[str, object]:
    return {"type": type_, **({"nullable": True} if spec.nullable else {})}


def _columns(columns: dict[str, dict[str, object]]) -> Iterator[str]:
    # As a mapping of one, so that a name such as `on` is quoted and stays a text.
    yield from (f"      {flow({name: column})[1:-1]}" for name, column in columns.items())


def _features_sql(draft: Draft) -> str:
    key = [f"s.{_name(name)}" for name in draft.source.key]
    columns = [
        f"s.{_name(name)}"
        if spec.type in ("string", "float64")
        else f"CAST(s.{_name(name)} AS DOUBLE) AS {_name(name)}"
        for name, spec in draft.features.items()
    ]
    selected = ",\n    ".join([*key, *columns])
    return (
        "-- One row for each row of the snapshot: its key, and features in their declared types.\n"
        "-- Visible here are snapshot, the declared references, and outcomes of earlier windows\n"
        "-- where outcomes.history declares them: nothing that became known later.\n"
        f"SELECT\n    {selected}\nFROM snapshot AS s\n"
    )


@cache
def _reserved() -> frozenset[str]:
    sql = "SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category = 'reserved'"
    found = query(sql, {})
    return frozenset(found.column(0).to_pylist())


def _name(name: str) -> str:
    return quoted(name) if name in _reserved() else name


def _training_script(name: str, draft: Draft) -> str:
    categories = [each for each, spec in draft.features.items() if spec.type == "string"]
    script = _WITH_CATEGORIES if categories else _NUMBERS_ALONE
    return script.format(name=name, categories=categories).replace("'", '"')


_NUMBERS_ALONE = '''"""How a model is made; `batchinf model register {name}` calls `train`."""

import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier


def train(features: pd.DataFrame, labels: "pd.Series[bool]") -> HistGradientBoostingClassifier:
    """Fit boosted trees on all features."""
    boost = HistGradientBoostingClassifier(early_stopping=False, random_state=0)
    return boost.fit(features, labels)
'''

_WITH_CATEGORIES = '''"""How a model is made; `batchinf model register {name}` calls `train`."""

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder

CATEGORIES = {categories}


def train(features: pd.DataFrame, labels: "pd.Series[bool]") -> Pipeline:
    """Fit boosted trees on all features, each category by its rank."""
    codes = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=np.nan, dtype=np.float64
    )
    encode = ColumnTransformer(
        [("categories", codes, CATEGORIES)],
        remainder="passthrough",
        verbose_feature_names_out=False,
    )
    boost = HistGradientBoostingClassifier(early_stopping=False, random_state=0)
    return Pipeline([("encode", encode), ("boost", boost)]).fit(features, labels)
'''
