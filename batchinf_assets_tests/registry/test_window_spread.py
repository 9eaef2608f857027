"""The design effect of windows whose rows are alike."""

from __future__ import annotations

import numpy as np
import pytest

from batchinf_assets.registry.window_spread import WindowSpread


def spread(correlation: float, windows: int = 20) -> WindowSpread:
    """Equally large windows."""
    return WindowSpread(
        windows=windows,
        concentration=1 / windows,
        correlation=correlation,
        usual_p_value=0.01,
        usual_psi=0.1,
    )


def test_independent_rows_have_no_design_effect() -> None:
    assert spread(0.0).design_effect(500, 9_000) == 1.0


def test_the_design_effect_by_hand() -> None:
    # 1/100 + 1/2000 = 0.0105; (1 + 0.05) / 0.0105 = 100; 1 + 0.1 * 99 = 10.9.
    assert spread(0.1).design_effect(100, 2_000) == pytest.approx(10.9, abs=1e-12)


def test_several_windows_together_differ_less_by_hand() -> None:
    # Four equal windows: 1/400 + 1/2000 = 0.003; (0.25 + 0.05) / 0.003 = 100; 1 + 0.1 * 99 = 10.9.
    assert spread(0.1).design_effect(400, 2_000, 0.25) == pytest.approx(10.9, abs=1e-12)
    # (0.25 + 0.05) / (1 + 0.05) of what one window keeps.
    assert spread(0.1).usual_psi_of(0.25) == pytest.approx(0.1 * 0.3 / 1.05)
    assert spread(0.1).usual_psi_of(1.0) == pytest.approx(0.1)
    assert spread(0.1).usual_wasserstein_of(0.25) is None


def test_it_is_how_many_times_more_shares_of_windows_vary() -> None:
    # Beta-binomial rows, a, b = 2, 6: their intraclass correlation is 1 / (a + b + 1) = 1 / 9.
    random = np.random.default_rng(4)
    rounds, windows, rows = 20_000, 10, 50
    shares = random.binomial(rows, random.beta(2, 6, (rounds, windows + 1))) / rows
    difference = shares[:, 0] - shares[:, 1:].mean(axis=1)
    independent = 0.25 * 0.75 * (1 / rows + 1 / (windows * rows))
    expected = spread(1 / 9, windows).design_effect(rows, windows * rows)
    assert difference.var() / independent == pytest.approx(expected, rel=0.05)
