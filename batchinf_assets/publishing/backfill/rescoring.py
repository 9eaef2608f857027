"""Which published windows another model is to score again, once it was promoted: a pure plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from batchinf_assets.project import Project
from batchinf_assets.scoring.predictions import manifests, predictions_table
from batchinf_assets.spec.pipeline import PipelineSpec


def plan_rescoring(
    sequence: int,
    digest: str,
    scored_by: Mapping[str, str],
    asked: Callable[[str], bool],
    *,
    limit: int,
) -> tuple[dict[str, str], bool]:
    """Decide which windows to score again after a promotion or demotion.

    Args:
        sequence: The alias's how-manieth move this is.
        digest: The model that it put in place.
        scored_by: Of each recent window that is published the digest of its model.
        asked: Tells whether a request of this name was followed already.
        limit: At most this many windows; the newest come first.

    Returns:
        Names of requests by window, one for ever for each move and window; and whether nothing
        remains to be asked for.
    """
    stale = [window for window in sorted(scored_by, reverse=True) if scored_by[window] != digest]
    names = {window: f"rescore:{window}:{sequence}" for window in stale}
    open_ones = {window: name for window, name in names.items() if not asked(name)}
    now = dict(list(open_ones.items())[:limit])
    return now, len(now) == len(open_ones)


def recent_models(project: Project, spec: PipelineSpec, windows: int) -> dict[str, str]:
    """Return, by key, the digests of the models that scored the newest published windows.

    Args:
        project: Where the lake is.
        spec: The pipeline.
        windows: How many windows.

    Raises:
        ManifestInvalid: The table's log, or a manifest, is damaged.
    """
    visible = predictions_table(project, spec).files()
    newest: Sequence[str] = sorted(visible)[-windows:]
    store = manifests(project, spec)
    return {
        key: store.read(spec.window.window(key), visible[key][0].parent.name).model.digest
        for key in newest
    }
