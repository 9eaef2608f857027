"""A visible file that was damaged or lost is written anew only if the very same bytes come out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.publishing.proof.verify import verify_window
from batchinf_assets.scoring.scorer import Outputs, Scorer

if TYPE_CHECKING:
    from batchinf_assets_tests.publishing.desk import Desk


@dataclass(frozen=True)
class OtherScorer:
    """Gives other scores than the model, as a library with a bug would; all within the contract."""

    inner: Scorer

    @property
    def name(self) -> str:
        return self.inner.name

    def outputs(self, features: pa.Table) -> Outputs:
        return 1 - self.inner.outputs(features)

    def for_workers(self) -> Scorer | None:
        beside_others = self.inner.for_workers()
        return replace(self, inner=beside_others) if beside_others else None


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("harm", [damage, Path.unlink])
def test_what_comes_out_differently_is_refused_and_the_visible_files_are_left_as_they_are(
    desk: Desk, harm: Callable[[Path], None]
) -> None:
    path = desk.output(desk.publish().manifest.revision)
    whole = path.read_bytes()
    harm(path)
    harmed = contents(path.parent)
    other = replace(desk, model=replace(desk.model, scorer=OtherScorer(desk.model.scorer)))
    with pytest.raises(ManifestInvalid, match=r"part-00000\.parquet is published and damaged"):
        other.prepare("again")
    assert contents(path.parent) == harmed
    assert desk.store.draft(desk.window) is None
    assert not verify_window(desk.project, desk.registry, desk.spec, desk.window).holds

    desk.prepare("with the model")
    assert contents(path.parent) == {path.name: whole}
    assert verify_window(desk.project, desk.registry, desk.spec, desk.window).holds


def test_a_revision_that_nobody_sees_yet_is_simply_scored_again(desk: Desk) -> None:
    path = desk.output(desk.draft().revision)
    whole = path.read_bytes()
    damage(path)
    desk.prepare("again")
    assert path.read_bytes() == whole
