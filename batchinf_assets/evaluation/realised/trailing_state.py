"""Whether figures over several windows are still those of what is on record of these windows.

An outcome that is corrected measures its own window anew; the figures of the windows after it were
made of what there was before. That is told by what they were made of, as the tables list it: no
clock is asked, and no file is opened. The figures themselves are made in `trailing`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from batchinf_assets.evaluation.consequences import PERFORMANCE
from batchinf_assets.evaluation.realised.labelled_scores import labelled_scores_table
from batchinf_assets.evaluation.records.metric_tables import history_of, metric_table
from batchinf_assets.lake.digest import json_sha256
from batchinf_assets.project import Project
from batchinf_assets.scoring.predictions import predictions_table
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

TrailingState = Literal["current", "stale", "not known"]
"""`not known` are figures of a version that did not keep what they were made of."""


def contributions(
    project: Project, spec: PipelineSpec, windows: Sequence[Window] | None = None
) -> dict[str, str]:
    """Return by window key what each gives to figures over several windows.

    Its labelled rows under the name that their content gives them, with the revision that readers
    see: of any other revision they do not count.

    Args:
        project: Where the tables are.
        spec: The pipeline.
        windows: Which to look at; by default all.

    Raises:
        ManifestInvalid: A table's log is damaged.
    """
    visible = predictions_table(project, spec).files()
    kept = labelled_scores_table(project, spec).files()
    keys = kept if windows is None else [each.key for each in windows]
    return {
        key: f"{kept[key][0].stem}/{visible[key][0].parent.name}"
        for key in keys
        if key in kept and key in visible
    }


def history_digest(windows: Sequence[Window], known: Mapping[str, str]) -> str:
    """Name what figures over these windows are made of.

    Args:
        windows: The trailing windows, the measured one the last.
        known: What each gives, as `contributions` says.
    """
    given = [[each.key, known[each.key]] for each in windows if each.key in known]
    return json_sha256(given)[:16]


@dataclass(frozen=True, kw_only=True)
class TrailingHistory:
    """What a window's trailing figures were made of, and what they would be made of by now.

    Attributes:
        made_of: As `history_digest` names it.
        now: Likewise.
    """

    made_of: str
    now: str

    @property
    def state(self) -> TrailingState:
        """Whether they are the same."""
        return "current" if self.made_of == self.now else "stale"


def trailing_histories(
    project: Project, spec: PipelineSpec, windows: Sequence[Window] | None = None
) -> dict[str, TrailingHistory]:
    """Return what trailing figures are made of, by window key, the earliest first.

    Left out are windows without such figures, or without labelled rows of what readers see; and
    figures of a version that did not keep what they were made of.

    Args:
        project: Where the tables are.
        spec: The pipeline.
        windows: Which to look at, in order; by default all.

    Raises:
        ManifestInvalid: A table's log is damaged.
    """
    known = contributions(project, spec)
    files = metric_table(project, spec, PERFORMANCE).files()
    made_of = {key: history_of(files[key][0]) for key in known if key in files}
    wanted = _in_order(spec, [*made_of]) if windows is None else windows
    most = max(spec.performance.trailing)
    return {
        window.key: TrailingHistory(made_of=made, now=history_digest(trailing, known))
        for window, trailing in _with_trailing(spec, wanted, most)
        if (made := made_of.get(window.key))
    }


def trailing_states(
    project: Project, spec: PipelineSpec, windows: Sequence[Window] | None = None
) -> dict[str, TrailingState]:
    """Return the states of `trailing_histories`."""
    found = trailing_histories(project, spec, windows)
    return {key: each.state for key, each in found.items()}


def _in_order(spec: PipelineSpec, keys: Sequence[str]) -> list[Window]:
    return sorted((spec.window.window(key) for key in keys), key=lambda each: each.start)


def _with_trailing(
    spec: PipelineSpec, windows: Sequence[Window], most: int
) -> Iterator[tuple[Window, list[Window]]]:
    """Yield each window with itself and those before it, as many as are looked back on."""
    if not windows:
        return
    before = spec.window.before(windows[0], most - 1)
    grid = [*before, *spec.window.between(windows[0].key, windows[-1].key)]
    places = {window.key: place for place, window in enumerate(grid)}
    for window in windows:
        end = places[window.key] + 1
        yield window, grid[max(0, end - most) : end]
