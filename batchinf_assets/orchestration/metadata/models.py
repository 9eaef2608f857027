"""Models, promotions and challengers as Dagster metadata; windows and tables are in `results`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict

import dagster as dg

from batchinf_assets.orchestration.metadata.results import Metadata, column_schema
from batchinf_assets.promotion.challenger import Challenger, Comparison
from batchinf_assets.promotion.clauses import TITLES
from batchinf_assets.promotion.gate import Verdict
from batchinf_assets.promotion.promote import Promoted
from batchinf_assets.registry.artifact import artifact_folder
from batchinf_assets.registry.registry import Registry
from batchinf_assets.registry.trust import PromotedModel
from batchinf_assets.registry.untrusted_text import one_line
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

CANARY_FIGURES = (
    "rows",
    "champion_mean",
    "candidate_mean",
    "mean_shift",
    "largest_difference",
    "psi",
)


def promoted_metadata(model: PromotedModel) -> Metadata:
    """Show which model scores, who signed it until when, and who promoted it."""
    statement, promotion = model.artifact.statement, model.promotion
    return {
        "version": dg.MetadataValue.text(model.version.version),
        "digest": dg.MetadataValue.text(model.version.digest),
        "key_id": dg.MetadataValue.text(statement.key_id),
        "signed_until": dg.MetadataValue.text(statement.expires_at.isoformat()),
        "promotion": dg.MetadataValue.int(promotion.sequence),
        "promoted_by": dg.MetadataValue.text(promotion.by),
        "scorer": dg.MetadataValue.text(model.artifact.card.scorer),
    }


def move_metadata(promoted: Promoted) -> Metadata:
    """Show the signed record of a move, and the clauses and canaries behind it."""
    record = promoted.record
    return {
        "action": dg.MetadataValue.text(record.action),
        "alias": dg.MetadataValue.text(record.alias),
        "version": dg.MetadataValue.text(record.version),
        "promotion": dg.MetadataValue.int(record.sequence),
        "by": dg.MetadataValue.text(record.by),
        "reason": dg.MetadataValue.text(record.reason),
        "forced": dg.MetadataValue.bool(record.forced),
        **verdict_metadata(promoted.verdicts),
    }


def verdict_metadata(verdicts: Sequence[Verdict], *, failed_only: bool = False) -> Metadata:
    """Show what the gate found: clauses, and the canary with its segments, by pipeline."""
    shown: Metadata = {}
    for verdict in verdicts:
        clauses = verdict.failed if failed_only else verdict.clauses
        rows = [(c.name, "passed" if c.passed else "FAILED", c.sentence) for c in clauses]
        shown[f"{verdict.pipeline}/clauses"] = _table(("clause", "verdict", "finding"), rows)
        if verdict.canary:
            shown[f"{verdict.pipeline}/canary"] = _table(("figure", "value"), _figures(verdict))
            shown[f"{verdict.pipeline}/segments"] = _table(
                ("feature", "value", "rows", "mean shift", "label flips"),
                [
                    (s.column, s.value, s.rows, s.mean_shift, _percent(s.flips_share))
                    for s in verdict.canary.segments
                ],
            )
    return shown


def challenger_metadata(spec: PipelineSpec, registry: Registry, found: Challenger) -> Metadata:
    """Show a challenger: what it learned from, how it compares, and how to promote it."""
    version, card = found.registered.version, found.registered.card
    folder = artifact_folder(registry.artifact_root, version.name, version.version, version.digest)
    command = f"batchinf model promote {version.name} {version.version} --reason ..."
    return {
        "dagster/row_count": dg.MetadataValue.int(card.training.rows),
        "dagster/uri": dg.MetadataValue.text(folder.as_uri()),
        "dagster/column_schema": dg.MetadataValue.table_schema(
            column_schema(spec.features.columns)
        ),
        "version": dg.MetadataValue.text(version.version),
        "digest": dg.MetadataValue.text(version.digest),
        "training": dg.MetadataValue.text(_span(found.training)),
        "holdout": dg.MetadataValue.text(_span(found.holdout)),
        "compared": dg.MetadataValue.text(one_line(found.comparison.sentence, length=500)),
        **_comparison(found.comparison),
        "golden": _table(
            ("metric", "value"), [(_title(name), v) for name, v in card.golden.metrics.items()]
        ),
        "scorer": dg.MetadataValue.text(card.scorer),
        "parity": _table(
            ("scorer", "verdict", "reason", "largest difference", "label flips"),
            [
                (r.scorer, r.verdict, r.reason, r.largest_difference, r.label_flips)
                for r in card.parity
            ],
        ),
        "promote": dg.MetadataValue.md(f"`{command}`"),
    }


def _comparison(found: Comparison) -> Metadata:
    if found.differences is None:
        return {}
    columns = ("metric", "champion", "challenger", "difference", "interval")
    rows = [
        (TITLES[name], d.champion, d.candidate, d.difference, _interval(d.low, d.high))
        for name, d in found.differences.items()
    ]
    return {"comparison": _table(columns, rows)}


def _figures(verdict: Verdict) -> Iterator[tuple[str, object]]:
    report = verdict.canary
    if report is None:
        return
    yield "window", verdict.canary_window
    figures = asdict(report)
    yield from ((name.replace("_", " "), figures[name]) for name in CANARY_FIGURES)
    flips = report.flips
    if flips is None:
        yield "label flips", "none: numbers have no labels"
    else:
        yield "label flips", f"{flips.count} ({flips.up} to true, {flips.down} to false)"


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> dg.MetadataValue:
    lines = [columns, ["---"] * len(columns), *([_cell(value) for value in row] for row in rows)]
    return dg.MetadataValue.md("\n".join(f"| {' | '.join(line)} |" for line in lines))


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return one_line(str(value), length=500).replace("|", "\\|")


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.1f} %"


def _interval(low: float | None, high: float | None) -> str | None:
    return None if low is None or high is None else f"[{low:+.4f}, {high:+.4f}]"


def _title(metric: str) -> str:
    return {str(name): title for name, title in TITLES.items()}.get(metric, metric)


def _span(windows: Sequence[Window]) -> str:
    return f"{windows[0].key} to {windows[-1].key} ({len(windows)} windows)"
