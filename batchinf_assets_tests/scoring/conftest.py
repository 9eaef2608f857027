"""Random flights with the declared features, small models that learned from them, signed artifacts.

Nothing of it is examined first: the gate that a model passes at registration has its own tests.
"""

from __future__ import annotations

import runpy
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import skops.io

from batchinf_assets.lake.schema import arrow_schema
from batchinf_assets.registry.artifact import (
    Artifact,
    draft_artifact,
    input_schema,
    open_artifact,
    place_artifact,
)
from batchinf_assets.registry.card import GoldenRecord, OutputColumn, Training, describe
from batchinf_assets.registry.keyring import Keyring
from batchinf_assets.registry.keys import SigningKey, create_signing_key
from batchinf_assets.registry.profile import build_profile
from batchinf_assets.registry.statement import ModelStatement
from batchinf_assets.scoring.frame import model_frame
from batchinf_assets.spec.contract import FeatureSpec
from batchinf_assets.spec.load import Pipeline

SIGNED_AT = datetime(2013, 7, 1, tzinfo=UTC)
VALID = timedelta(days=30)
ROWS = 5_003


@dataclass(frozen=True)
class Flights:
    """Rows to learn from, and rows with carriers and airports that nobody has seen.

    Attributes:
        columns: The declared features.
        training: What models learn from.
        unseen: What they score.
    """

    columns: dict[str, FeatureSpec]
    training: pa.Table
    unseen: pa.Table

    def learn(self, estimator: Any) -> Any:
        """Fit an estimator on labels that depend on two features, each missing at times."""
        frame = model_frame(self.training, self.columns)
        late = (frame["departure_minute"] + (frame["carrier_code"] == "UA") > 0.5).rename("late")
        return estimator.fit(frame, late)


def flight_rows(
    columns: dict[str, FeatureSpec], seed: int, rows: int, carriers: str, airports: str
) -> pa.Table:
    random = np.random.default_rng(seed)
    choices = {"carrier_code": carriers.split(), "origin_airport": ["EWR", "JFK", "LGA"]}
    made: dict[str, pa.Array] = {}
    for name, column in columns.items():
        if column.type == "string":
            made[name] = pa.array(random.choice(choices.get(name, airports.split()), rows))
        else:
            missing = random.random(rows) < (0.1 if column.nullable else 0)
            made[name] = pa.array(random.normal(size=rows), mask=missing)
    return pa.table(made, schema=arrow_schema(columns))


@pytest.fixture(scope="session")
def flights(pipeline: Pipeline) -> Flights:
    columns = dict(pipeline.spec.features.columns)
    return Flights(
        columns=columns,
        training=flight_rows(columns, 1, 4_000, "AA B6 UA", "ATL BOS SFO"),
        unseen=flight_rows(columns, 2, ROWS, "AA UA ZZ", "ATL XXX"),
    )


@pytest.fixture(scope="session")
def trained(pipeline: Pipeline, flights: Flights) -> Any:
    """What the pipeline's own `train` makes of the random flights."""
    frame = model_frame(flights.training, flights.columns)
    late = (frame["departure_minute"] + (frame["carrier_code"] == "UA") > 0.5).rename("late")
    return runpy.run_path(str(pipeline.training_script))["train"](frame, late)


@dataclass(frozen=True)
class Workshop:
    """Signs artifacts without examining them."""

    folder: Path
    key: SigningKey
    flights: Flights

    @property
    def keyring(self) -> Keyring:
        return Keyring().with_key(
            self.key.public, not_before=SIGNED_AT - VALID, not_after=SIGNED_AT + VALID
        )

    def sign(self, model: bytes, scorer: str, **files: bytes) -> Artifact:
        """Place an artifact of a model file and open it again; `files` without their suffix."""
        rows, names = self.flights.training, {"recipe": "json", "trees": "parquet"}
        profile = build_profile(
            rows,
            np.full(rows.num_rows, 0.5),
            columns=self.flights.columns,
            score_column="delay_probability",
        )
        card = describe(
            name="flight_delays",
            model_format="skops",
            origin="file",
            input_schema=input_schema(self.flights.columns),
            output_schema=(OutputColumn(name="delay_probability"),),
            training=Training(start=date(2013, 1, 1), end=date(2013, 4, 1), rows=1, positives=1),
            metrics={"auroc": 0.5},
            golden=GoldenRecord(sha256="a" * 64, rows=1, positives=1, decision=0.4, metrics={}),
            feature_definition="0" * 64,
            libraries={},
            scorer=scorer,
            parity=(),
        )
        contents = {"model.skops": model, "profile.json": profile.to_json().encode()}
        named = {f"{name}.{names.get(name, 'json')}": data for name, data in files.items()}
        draft = draft_artifact(card, {**contents, **named})  # type: ignore[dict-item]
        version = str(1 + sum(1 for _ in self.folder.glob("flight_delays/*")))
        statement = ModelStatement(
            name="flight_delays",
            version=version,
            feature_definition="0" * 64,
            created_at=SIGNED_AT,
            expires_at=SIGNED_AT + VALID,
            key_id=self.key.id,
            files=dict(draft.files),
        )
        place_artifact(self.folder, draft, version, statement.signed(self.key))
        return open_artifact(
            self.folder,
            name="flight_delays",
            version=version,
            digest=draft.digest,
            keyring=self.keyring,
            at=SIGNED_AT,
        )


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory, flights: Flights) -> Workshop:
    folder = tmp_path_factory.mktemp("models of flights")
    return Workshop(folder / "models", create_signing_key(folder / "keys" / "key.pem"), flights)


@pytest.fixture(scope="session")
def stored() -> Callable[[Any], bytes]:
    """Store an estimator as its skops file."""
    return skops.io.dumps
