"""The fast scorers against scikit-learn: every covered estimator, on real and adversarial rows.

Each estimator is fitted on real flights, in a pipeline that encodes their features, and answers the
same rows as its fast scorer: the features of every landed flight of 2013 whose outcome is known, up
to half of ROWS, then rows that are made to tell unequal scorers apart, from that very estimator's
split thresholds. Rows are made piece by piece; both sides refuse the same ones, and these are not
counted. A difference is one of probabilities, or of a regressor's values relative to
max(1, |value|).

The exit code is 1 if a scorer is refused, a label differs, or an answer by trees is not the very
number of scikit-learn. Speed is that of one shard of real rows, encoding included, on all cores,
and no part of the verdict.

    python -m benchmarks.scorer_parity [ROWS]
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn import ensemble, linear_model, tree
from sklearn.base import clone
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from batchinf_assets.lake.query import query
from batchinf_assets.project import Project
from batchinf_assets.registry.card import ParityRecord
from batchinf_assets.scoring.adversarial import adversarial_rows, feature_thresholds, hostile_rows
from batchinf_assets.scoring.fast import TREES, TreeScorer, fast_scorer
from batchinf_assets.scoring.frame import model_frame
from batchinf_assets.scoring.parity import compare_scorers, measure_speed
from batchinf_assets.scoring.scorer import SklearnScorer
from batchinf_assets.scoring.shards import Shard, plan_shards
from batchinf_assets.scoring.untranslatable import Untranslatable
from batchinf_assets.spec.contract import FeatureSpec
from batchinf_assets.spec.load import load_pipeline
from batchinf_assets.training.dataset import labelled_rows
from batchinf_demo.landing import FIRST_DAY, LAST_DAY, land

ROWS = 1_000_000
TRAINING_ROWS = 20_000
PIECE = 131_072

Kind = Literal["binary", "3 classes", "squared error", "poisson"]
Encoding = Literal["codes", "filled", "sparse", "dense"]


@dataclass(frozen=True)
class Covered:
    """An estimator that has a fast scorer.

    Attributes:
        kind: What it learns: to be late, a class of delays, or minutes.
        encoding: What stands before it.
        estimator: Not fitted.
    """

    kind: Kind
    encoding: Encoding
    estimator: Any

    @property
    def name(self) -> str:
        """Class and kind."""
        return f"{type(self.estimator).__name__}, {self.kind}"


@dataclass(frozen=True, kw_only=True)
class Flights:
    """Rows to learn from and to score.

    Attributes:
        columns: The declared features.
        features: They, one row per flight.
        delay: Minutes after the scheduled arrival, float64, shape (rows,).
    """

    columns: Mapping[str, FeatureSpec]
    features: pa.Table
    delay: npt.NDArray[np.float64]

    def sample(self, rows: int) -> Flights:
        """Take at most so many flights, evenly over all."""
        chosen = np.unique(np.linspace(0, len(self.delay) - 1, rows).round().astype(np.int64))
        taken = self.features.take(pa.array(chosen))
        return Flights(columns=self.columns, features=taken, delay=self.delay[chosen])

    def target(self, kind: Kind) -> npt.NDArray[Any]:
        """Return what an estimator of a kind learns, shape (rows,)."""
        match kind:
            case "binary":
                return self.delay >= 15
            case "3 classes":
                return np.digitize(self.delay, [0, 15])
            case "squared error":
                return self.delay
            case "poisson":
                return np.maximum(self.delay, 0)


@dataclass(frozen=True, kw_only=True)
class Pieces(Sequence[pa.Table]):
    """Real rows, then adversarial ones, each piece made when it is asked for.

    Attributes:
        flights: The real rows.
        golden: Rows that adversarial ones are made of.
        thresholds: Split thresholds by feature; each adversarial piece has its share of them.
        adversarial: How many rows to make.
        piece: Rows of a piece, at most.
    """

    flights: Flights
    golden: pa.Table
    thresholds: Mapping[str, npt.NDArray[np.float64]]
    adversarial: int
    piece: int = PIECE

    def __len__(self) -> int:
        return sum(len(shards) for shards in self._shards)

    def __getitem__(self, index: int) -> pa.Table:  # type: ignore[override]  # no slices
        real, made = self._shards
        shard = [*real, *made][index]
        if index < len(real):
            return self.flights.features.slice(shard.start, shard.rows)
        share = {name: all_[shard.index :: len(made)] for name, all_ in self.thresholds.items()}
        return adversarial_rows(
            self.golden, self.flights.columns, share, rows=shard.rows, seed=shard.index
        )

    @property
    def _shards(self) -> tuple[list[Shard], list[Shard]]:
        real, made = (
            [min(self.piece, rows - start) for start in range(0, rows, self.piece)]
            for rows in (self.flights.features.num_rows, self.adversarial)
        )
        return plan_shards(real, self.piece), plan_shards(made, self.piece)


BOOSTING: Mapping[str, Any] = {
    "categorical_features": [0, 1, 2],
    "early_stopping": False,
    "random_state": 0,
}
SOME: Mapping[str, Any] = {"n_estimators": 20, "random_state": 0}
SHALLOW: Mapping[str, Any] = {"max_depth": 12, "random_state": 0}
COVERED = (
    Covered("binary", "codes", ensemble.HistGradientBoostingClassifier(**BOOSTING)),
    Covered("3 classes", "codes", ensemble.HistGradientBoostingClassifier(**BOOSTING)),
    Covered("squared error", "codes", ensemble.HistGradientBoostingRegressor(**BOOSTING)),
    Covered("poisson", "codes", ensemble.HistGradientBoostingRegressor("poisson", **BOOSTING)),
    Covered("binary", "filled", ensemble.GradientBoostingClassifier(random_state=0)),
    Covered("3 classes", "filled", ensemble.GradientBoostingClassifier(random_state=0)),
    Covered("squared error", "filled", ensemble.GradientBoostingRegressor(random_state=0)),
    Covered("binary", "codes", ensemble.RandomForestClassifier(**SHALLOW)),
    Covered("3 classes", "sparse", ensemble.RandomForestClassifier(**SOME)),
    Covered("squared error", "codes", ensemble.RandomForestRegressor(**SOME)),
    Covered("binary", "filled", ensemble.ExtraTreesClassifier(**SOME)),
    Covered("3 classes", "codes", ensemble.ExtraTreesClassifier(**SHALLOW)),
    Covered("squared error", "dense", ensemble.ExtraTreesRegressor(**SOME)),
    Covered("binary", "codes", tree.DecisionTreeClassifier(random_state=0)),
    Covered("3 classes", "filled", tree.DecisionTreeClassifier(random_state=0)),
    Covered("squared error", "codes", tree.DecisionTreeRegressor(random_state=0)),
    Covered("binary", "dense", linear_model.LogisticRegression(max_iter=1000)),
    Covered("3 classes", "dense", linear_model.LogisticRegression(max_iter=1000)),
    Covered("squared error", "sparse", linear_model.LinearRegression()),
    Covered("squared error", "dense", linear_model.Ridge()),
)


def main() -> int:
    """Compare all and print a line for each; return the exit code."""
    parser = argparse.ArgumentParser(description="Hold the fast scorers against scikit-learn.")
    parser.add_argument("rows", nargs="?", type=int, default=ROWS)
    rows = parser.parse_args().rows
    flights, decision = landed_flights(rows // 2)
    real = flights.features.num_rows
    print(f"{rows:,} rows: {real:,} real flights, {rows - real:,} made for each estimator")
    print(TITLES)
    kept = sum(_show(covered, flights, rows, decision) for covered in COVERED)
    print(f"{kept} of {len(COVERED)} estimators: labels and tree answers equal, none refused")
    return 0 if kept == len(COVERED) else 1


def _show(covered: Covered, flights: Flights, rows: int, decision: float) -> bool:
    """Print an estimator's line and return whether it keeps every rule."""
    estimator = learn(covered, flights)
    try:
        record = compare(estimator, flights, rows, decision=decision)
    except Untranslatable as error:
        print(f"{covered.name:45} has no fast form: {error}")
        return False
    broken = broken_rule(record)
    speeds = _speeds(estimator, flights) if record.verdict == "passed" else (0.0, 0.0)
    print(line(covered.name, record, speeds), flush=True)
    if broken:
        print(f"  {broken}")
    return broken is None


def landed_flights(most: int) -> tuple[Flights, float]:
    """Land the year in a temporary folder; return its flights and the declared decision."""
    pipeline = load_pipeline("flight_delays")
    spec = pipeline.spec
    with tempfile.TemporaryDirectory() as scratch:
        project = dataclasses.replace(Project.here(os.environ), landing=Path(scratch))
        land(project.landing)
        windows = spec.window.between(str(FIRST_DAY), str(LAST_DAY))
        labelled = labelled_rows(project, pipeline, windows, lambda _done, _all: None)
        outcomes = pq.read_table(project.landing / "outcomes")
    key = ", ".join(spec.source.key)
    rows = query(
        f"SELECT r.*, arrival_delay FROM r JOIN outcomes USING ({key}) ORDER BY {key}",
        {"r": labelled.rows, "outcomes": outcomes},
    )
    columns = dict(spec.features.columns)
    delay = rows.column("arrival_delay").to_numpy()
    flights = Flights(columns=columns, features=rows.select(list(columns)), delay=delay)
    return (flights.sample(most) if most < len(delay) else flights), spec.golden.decision


def learn(covered: Covered, flights: Flights) -> Any:
    """Fit an estimator behind its encoders on a sample of the flights."""
    sample = flights.sample(TRAINING_ROWS)
    frame = model_frame(sample.features, sample.columns)
    model = make_pipeline(_encoders(covered.encoding, flights.columns), clone(covered.estimator))
    return model.fit(frame, sample.target(covered.kind))


def compare(estimator: Any, flights: Flights, rows: int, *, decision: float) -> ParityRecord:
    """Hold the fast scorer of a fitted estimator against scikit-learn.

    Args:
        estimator: Fitted.
        flights: Its real rows.
        rows: As many, adversarial ones included.
        decision: Where a probability becomes a label.

    Raises:
        Untranslatable: It has no fast scorer.
    """
    columns = flights.columns
    fast = fast_scorer(estimator, columns)
    trees = isinstance(fast, TreeScorer)
    golden = flights.sample(TRAINING_ROWS).features
    pieces = Pieces(
        flights=flights,
        golden=golden,
        thresholds=feature_thresholds(fast.recipe, fast.ensemble) if trees else {},
        adversarial=rows - flights.features.num_rows,
    )
    hostile = hostile_rows(golden, columns)
    reference = SklearnScorer(estimator, columns)
    return compare_scorers(reference, fast, pieces, hostile, decision=decision)


def broken_rule(record: ParityRecord) -> str | None:
    """Say what keeps a scorer from counting as equal; one with another label is refused."""
    if record.reason is None and record.scorer == TREES and record.largest_difference != 0:
        return f"trees answer with numbers that are {record.largest_difference:g} apart"
    return record.reason


TITLES = (
    f"{'estimator':45} {'scorer':9} {'compared':>9} {'difference':>10} {'flips':>5} {'bits':>7}"
    f" {'M rows/s: sklearn':>18} {'fast':>6}  verdict"
)


def line(name: str, record: ParityRecord, speeds: tuple[float, float]) -> str:
    """Write one estimator's line of the table, below `TITLES`."""
    largest, flips = record.largest_difference, record.label_flips
    difference = "-" if largest is None else f"{largest:.1e}" if largest else "0"
    bits = "equal" if record.bit_equal else "unequal"
    slow, fast = (f"{speed / 1e6:.2f}" for speed in speeds)
    return (
        f"{name:45} {record.scorer:9} {record.rows:9,} {difference:>10}"
        f" {'-' if flips is None else flips:>5} {bits:>7} {slow:>18} {fast:>6}  {record.verdict}"
    )


def _encoders(encoding: Encoding, columns: Mapping[str, FeatureSpec]) -> ColumnTransformer:
    words = [name for name, column in columns.items() if column.type == "string"]
    numbers = [name for name in columns if name not in words]
    ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
    match encoding:
        case "codes":
            encoder, prepare = ordinal, "passthrough"
        case "filled":
            encoder, prepare = ordinal.set_params(unknown_value=-1), SimpleImputer()
        case "sparse" | "dense":
            encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=encoding == "sparse")
            prepare = make_pipeline(SimpleImputer(), StandardScaler())
    return make_column_transformer((encoder, words), (prepare, numbers))


def _speeds(estimator: Any, flights: Flights) -> tuple[float, float]:
    """Return rows per second of scikit-learn and of the fast scorer."""
    shard = flights.features.slice(0, PIECE)
    slow, fast = SklearnScorer(estimator, flights.columns), fast_scorer(estimator, flights.columns)
    return measure_speed(slow, shard), measure_speed(fast, shard)


if __name__ == "__main__":
    sys.exit(main())
