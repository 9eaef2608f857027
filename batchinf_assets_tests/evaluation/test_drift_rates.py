"""How often drift is called where there is none, and found where there is some.

Windows are drawn as counts: rows of one distribution fall into bins by the multinomial law.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from batchinf_assets.evaluation.distances import Difference, differences
from batchinf_assets.evaluation.drift import judged, overall_verdict
from batchinf_assets.registry.profile import Profile, build_profile
from batchinf_assets.spec import PipelineSpec, load_pipeline

TRAINING_ROWS = 100_000
WINDOWS = 1_000
NORMAL = [f"normal_{n}" for n in range(13)]
WHOLE = ["whole_0", "whole_1", "whole_2"]
KINDS = {"kind_3": 3, "kind_12": 12, "kind_50": 50}
"""Categories, ever fewer of each: most of the last are rare."""


@pytest.fixture(scope="module")
def spec() -> PipelineSpec:
    """Twenty columns, the score among them, judged on however few rows."""
    document = load_pipeline("flight_delays").spec.model_dump()
    types = dict.fromkeys(NORMAL, "float32") | dict.fromkeys(WHOLE, "float64")
    types |= dict.fromkeys(KINDS, "string")
    document["features"]["columns"] = {name: {"type": kind} for name, kind in types.items()}
    document["drift"]["min_rows"] = 1
    document["golden"]["segments"] = document["performance"]["segments"] = ()
    document["model"]["promotion"]["canary"]["segments"] = ()
    return PipelineSpec.model_validate(document)


@pytest.fixture(scope="module")
def profile(spec: PipelineSpec) -> Profile:
    """What the twenty columns looked like in training."""
    random = np.random.default_rng(11)
    rows: dict[str, np.ndarray] = {
        name: random.standard_normal(TRAINING_ROWS).astype(np.float32) for name in NORMAL
    }
    rows |= {name: random.poisson(3, TRAINING_ROWS).astype(float) for name in WHOLE}
    for name, count in KINDS.items():
        rows[name] = (random.zipf(1.5, TRAINING_ROWS) % count).astype(str)
    return build_profile(
        pa.table(rows),
        random.beta(2, 5, TRAINING_ROWS),
        columns=spec.features.columns,
        score_column=spec.prediction.column,
    )


def windows_of(
    profile: Profile, shares: dict[str, np.ndarray], rows: int, windows: int
) -> list[list[Difference]]:
    """Draw windows and measure them, all in one go."""
    random = np.random.default_rng(rows)
    drawn = {name: random.multinomial(rows, each, size=windows) for name, each in shares.items()}
    places = [(place, name) for place in range(windows) for name in shares]
    found = differences(
        {f"{place}/{name}": drawn[name][place].tolist() for place, name in places},
        {f"{place}/{name}": profile.subjects[name] for place, name in places},
    )
    return [
        [replace(found[f"{place}/{name}"], subject=name) for name in shares]
        for place in range(windows)
    ]


def trained(profile: Profile) -> dict[str, np.ndarray]:
    """The training shares by bin."""
    return {
        name: np.array(each.bin_counts) / profile.rows for name, each in profile.subjects.items()
    }


@pytest.mark.parametrize("rows", [50, 500, 50_000])
def test_of_windows_without_drift_at_most_one_in_twenty_is_called_drifted(
    profile: Profile, spec: PipelineSpec, rows: int
) -> None:
    shares = trained(profile)
    assert len(shares) == 20
    measured = windows_of(profile, shares, rows, WINDOWS)
    verdicts = [overall_verdict(judged("training", each, spec)) for each in measured]
    called = sum(verdict in ("moderate", "major") for verdict in verdicts)
    assert set(verdicts) <= {"stable", "moderate", "major"}
    assert called <= WINDOWS // 20


def test_a_shift_of_a_fifth_of_a_deviation_is_found_on_five_thousand_rows(
    profile: Profile, spec: PipelineSpec
) -> None:
    shifted = np.random.default_rng(2).standard_normal(200_000) + 0.2
    counts = profile.observe({NORMAL[0]: pa.array(shifted)})[NORMAL[0]]
    shares = {**trained(profile), NORMAL[0]: np.array(counts) / len(shifted)}
    measured = windows_of(profile, shares, 5_000, 200)
    found = [
        drift.verdict
        for each in measured
        for drift in judged("training", each, spec)
        if drift.subject == NORMAL[0]
    ]
    assert sum(verdict in ("moderate", "major") for verdict in found) >= 0.95 * len(found)
