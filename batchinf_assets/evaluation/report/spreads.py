"""How values are spread over the bins of a profile: shares to draw, and quantiles of a number.

Sketches hold the rows by bin (`drift.sketches`), the profile those of training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np

from batchinf_assets.checks import quoted
from batchinf_assets.errors import ManifestInvalid, ModelRefused
from batchinf_assets.lake.entries import is_file
from batchinf_assets.lake.files import read_bounded
from batchinf_assets.lake.place import Place
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.project import Project
from batchinf_assets.registry.artifact import CARD_FILE, PROFILE_FILE
from batchinf_assets.registry.bins import Binned, CategoryCounts, NumericBins
from batchinf_assets.registry.card import read_card
from batchinf_assets.registry.profile import Profile

MOST_CATEGORIES = 9
LONGEST_LABEL = 22
MISSING = "missing"


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Shares of rows by bin, of a window and of the training rows.

    Attributes:
        subject: The feature, or the score.
        labels: What the bins are called.
        window: Shares of the window's rows; they add up to 1.
        training: Shares of the training rows; None where they are not known.
    """

    subject: str
    labels: tuple[str, ...]
    window: tuple[float, ...]
    training: tuple[float, ...] | None


def spread_of(subject: str, window: Binned, training: Binned | None) -> Spread | None:
    """Return the shares of a window beside those of training; None without rows.

    Bins that hold nothing on either side at the ends, and a category too many, are not named:
    categories beyond the most frequent ones are put together.
    """
    known = training if training is not None and _same_bins(window, training) else None
    rows = np.asarray(window.bin_counts, dtype=np.float64)
    if not rows.sum():
        return None
    learned = np.asarray(known.bin_counts, dtype=np.float64) if known is not None else None
    shares = rows / rows.sum()
    reference = learned / learned.sum() if learned is not None and learned.sum() else None
    labels = _labels(window)
    if isinstance(window, CategoryCounts):
        labels, shares, reference = _folded(labels, shares, reference)
    shown = [
        at
        for at, label in enumerate(labels)
        if label not in (MISSING, "other")
        or shares[at] > 0
        or (reference is not None and reference[at] > 0)
    ]
    return Spread(
        subject=subject,
        labels=tuple(labels[at] for at in shown),
        window=tuple(float(shares[at]) for at in shown),
        training=None if reference is None else tuple(float(reference[at]) for at in shown),
    )


def quantiles_of(
    bins: NumericBins, at: Sequence[float], *, low: float | None, high: float | None
) -> tuple[float, ...] | None:
    """Return quantiles, values taken as evenly spread inside their bins; None without values.

    Args:
        bins: The rows by bin.
        at: Which quantiles, between 0 and 1.
        low: Where the first bin begins; None where nobody knows: at its edge, then.
        high: Where the last bin ends, likewise.
    """
    total = sum(bins.counts)
    if not total:
        return None
    outer = [*(end for end in (low, high) if end is not None), *bins.edges]
    if not outer:
        return None
    ends = [min(outer), *bins.edges, max(outer)]
    shares = [0.0, *(count / total for count in accumulate(bins.counts))]
    return tuple(float(value) for value in np.interp(at, shares, ends))


def training_profile(project: Project, manifest: Manifest) -> Profile | None:
    """Return the profile of the model that scored, if its files lie in the lake.

    The manifest names the card by its digest, the card the profile by its own; so no key is needed
    to know that it is the very profile. Models that lie elsewhere are not looked for.
    """
    model = manifest.model
    folder = project.lake / "_models" / model.name / f"v{model.version}-{model.digest[:16]}"
    try:
        card = _verified(folder / CARD_FILE, model.digest)
        named = read_card(card, model.name).files.get(PROFILE_FILE) if card else None
        profile = _verified(folder / PROFILE_FILE, named.sha256) if named else None
        return Profile.from_json(profile) if profile else None
    except (ManifestInvalid, ModelRefused):  # of a format that this version does not know
        return None


def _verified(place: Place, sha256: str) -> bytes | None:
    content = read_bounded(place) if is_file(place) else b""
    return content if hashlib.sha256(content).hexdigest() == sha256 else None


def _same_bins(one: Binned, other: Binned) -> bool:
    if isinstance(one, NumericBins):
        return isinstance(other, NumericBins) and one.edges == other.edges
    return isinstance(other, CategoryCounts) and {*one.counts} == {*other.counts}


def _labels(bins: Binned) -> list[str]:
    if isinstance(bins, CategoryCounts):
        names = [quoted(name, longest=LONGEST_LABEL) or "(empty)" for name in sorted(bins.counts)]
        return [*names, "other", MISSING]
    edges = [f"{edge:.4g}" for edge in bins.edges]
    if not edges:
        return ["all", MISSING]
    inner = [f"{low} to {high}" for low, high in pairwise(edges)]
    return [f"up to {edges[0]}", *inner, f"above {edges[-1]}", MISSING]


def _folded(
    labels: list[str], window: np.ndarray, training: np.ndarray | None
) -> tuple[list[str], np.ndarray, np.ndarray | None]:
    """Keep the categories that are frequent on either side, the most frequent first."""
    largest = window if training is None else np.maximum(window, training)
    named = np.argsort(-largest[:-2], kind="stable")
    kept, rest = named[:MOST_CATEGORIES], named[MOST_CATEGORIES:]

    def fold(shares: np.ndarray) -> np.ndarray:
        beyond = [shares[rest].sum()] if len(rest) else []
        return np.array([*shares[kept], *beyond, *shares[-2:]])

    beyond = [f"{len(rest)} more" if len(rest) > 1 else labels[rest[0]]] if len(rest) else []
    names = [*(labels[at] for at in kept), *beyond, *labels[-2:]]
    return names, fold(window), None if training is None else fold(training)
