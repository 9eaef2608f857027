"""Labels that flip, by hand-counted rows."""

from __future__ import annotations

import numpy as np

from batchinf_assets.evaluation.metrics.flips import Flips, class_flips, decision_flips

A = np.array([0.1, 0.5, 0.5, 0.9])
B = np.array([0.1, 0.25, 0.75, 0.4])


def test_labels_flip_both_ways_and_the_decision_itself_is_positive() -> None:
    assert decision_flips(A, B, 0.5) == Flips(count=2, share=0.5, up=0, down=2)
    turned = decision_flips(B, A, 0.5)
    assert (turned.up, turned.down) == (2, 0)
    assert decision_flips(np.array([0.4]), np.array([0.5]), 0.5).up == 1


def test_without_rows_no_share_is_zero() -> None:
    assert decision_flips(np.empty(0), np.empty(0), 0.5).share is None
    nothing = class_flips(np.empty((0, 2)), np.empty((0, 2)), ["x", "y"])
    assert (nothing.count, nothing.share) == (0, None)
    assert nothing.from_to == {"x": {"x": 0, "y": 0}, "y": {"x": 0, "y": 0}}


def test_classes_flip_from_one_to_another_and_of_equal_ones_the_first_is_said() -> None:
    a = np.array([[0.5, 0.3, 0.2], [0.4, 0.4, 0.2], [0.1, 0.1, 0.8], [0.1, 0.8, 0.1]])
    b = np.array([[0.2, 0.4, 0.4], [0.3, 0.4, 0.3], [0.1, 0.1, 0.8], [0.6, 0.2, 0.2]])
    found = class_flips(a, b, ["x", "y", "z"])
    assert (found.count, found.share, found.up, found.down) == (3, 0.75, None, None)
    assert found.from_to == {
        "x": {"x": 0, "y": 2, "z": 0},
        "y": {"x": 1, "y": 0, "z": 0},
        "z": {"x": 0, "y": 0, "z": 1},
    }
