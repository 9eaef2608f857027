"""Make the committed artifact of model format 2, its keyring and its promotion.

Run once, when format 2 was released: `python batchinf_assets_tests/compatibility/make_model_v2.py`.
Never run again: the point of the files is that an older version wrote them. The private key lives
in a temporary folder and is gone afterwards.
"""

from __future__ import annotations

import tempfile
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from batchinf_assets.registry.artifact import draft_artifact, input_schema, place_artifact
from batchinf_assets.registry.card import (
    GoldenRecord,
    OutputColumn,
    ParityRecord,
    Training,
    describe,
)
from batchinf_assets.registry.keyring import Keyring, write_keyring
from batchinf_assets.registry.keys import create_signing_key
from batchinf_assets.registry.profile import build_profile
from batchinf_assets.registry.promotion_record import Clause
from batchinf_assets.registry.promotions import PromotionLog
from batchinf_assets.registry.statement import ModelStatement
from batchinf_assets.spec.contract import FeatureSpec

FOLDER = Path(__file__).with_name("model_v2")
START, END = datetime(2026, 11, 22, tzinfo=UTC), datetime(2126, 11, 22, tzinfo=UTC)
COLUMNS = {
    "distance": FeatureSpec(type="float64"),
    "carrier": FeatureSpec(type="string", nullable=True),
}
CARD = {
    "name": "toy",
    "model_format": "skops",
    "origin": "trained here",
    "input_schema": input_schema(COLUMNS),
    "output_schema": (OutputColumn(name="probability"),),
    "training": Training(start=date(2013, 1, 1), end=date(2013, 4, 1), rows=3, positives=1),
    "metrics": {"auroc": 0.75},
    "golden": GoldenRecord(
        sha256="a" * 64,
        rows=3,
        positives=1,
        decision=0.5,
        metrics={"auroc": 0.5, "precision": None},
    ),
    "feature_definition": "f" * 64,
    "libraries": {"python": "3.11.7", "numpy": "2.4.0", "scikit-learn": "1.9.1", "skops": "0.16.0"},
    "scorer": "trees 1",
    "parity": (
        ParityRecord(
            scorer="trees 1",
            rows=3,
            largest_difference=0.0,
            label_flips=0,
            bit_equal=True,
            verdict="passed",
            reason=None,
        ),
        ParityRecord(
            scorer="onnx 1",
            rows=3,
            largest_difference=None,
            label_flips=None,
            bit_equal=False,
            verdict="refused",
            reason="No such file",
        ),
    ),
}


def make() -> None:
    """Write the artifact, its promotion and the keyring below `model_v2/`."""
    rows = pa.table({"distance": [1.0, 2.0, 3.0], "carrier": ["AA", None, "UA"]})
    profile = build_profile(
        rows, np.array([0.1, 0.2, 0.3]), columns=COLUMNS, score_column="probability"
    )
    contents = {
        "model.skops": b"no model: the format of the folder is what counts here",
        "profile.json": profile.to_json().encode(),
        "recipe.json": b"{}",
        "trees.parquet": b"PAR1",
    }
    draft = draft_artifact(describe(**CARD), contents)
    with tempfile.TemporaryDirectory() as temporary:
        key = create_signing_key(Path(temporary) / "key.pem")
    statement = ModelStatement(
        name="toy",
        version="1",
        feature_definition="f" * 64,
        created_at=START,
        expires_at=END,
        key_id=key.id,
        files={**draft.files},
    )
    place_artifact(FOLDER / "models", draft, "1", statement.signed(key))
    ring = Keyring().with_key(key.public, not_before=START, not_after=END)
    write_keyring(FOLDER / "keys", ring)
    with tempfile.TemporaryDirectory() as nothing_seen:
        PromotionLog.of(FOLDER / "models", Path(nothing_seen), "toy", "champion").append(
            key,
            after=0,
            action="promote",
            version="1",
            digest=draft.digest,
            reason="To be read by every later version",
            by="batchinf",
            at=START,
            forced=True,
            clauses=(
                Clause(name="golden", passed=False, sentence="AUROC fell", measured={"fell": 0.1}),
            ),
        )


if __name__ == "__main__":
    make()
