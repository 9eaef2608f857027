"""What evaluation finds when it runs again on what readers see, and what of it counts."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from batchinf_assets.checks import CheckResult
from batchinf_assets.errors import GoldenSetInvalid, ManifestInvalid, WindowRefused
from batchinf_assets.evaluation.evaluate_again import LaterVerdicts, judge_again
from batchinf_assets.evaluation.later_evaluations import keep_later_evaluation
from batchinf_assets.lake.digest import file_sha256
from batchinf_assets.project import CHECKOUT
from batchinf_assets.publishing.overrides import held_verdicts, new_override, write_override
from batchinf_assets.publishing.rollback.automatic import roll_back_if_condemned
from batchinf_assets.publishing.verdicts_of_now import failed_evaluation, failed_since
from batchinf_assets.spec.evaluation import GateSpec, RollbackSpec
from batchinf_assets_tests.publishing.desk import Desk, Held
from batchinf_assets_tests.publishing.two_revisions import NOW

if TYPE_CHECKING:
    from batchinf_assets_tests.publishing.two_revisions import Shown

GOLDEN = Path("data/golden/flight_delays.parquet")


def evaluate_again(desk: Desk) -> LaterVerdicts:
    manifest = desk.published()
    later = judge_again(desk.project, desk.registry, desk.spec, desk.window, manifest)
    keep_later_evaluation(
        desk.project, desk.spec, desk.window, manifest, later, lease=Held(), at=NOW
    )
    return later


def documents(desk: Desk) -> list[Path]:
    return sorted(Path(str(desk.project.lake)).glob("flight_delays/_evaluations/*/*.json"))


def failure(desk: Desk) -> CheckResult | None:
    revision = desk.visible() or ""
    return failed_since(desk.project, desk.registry, desk.spec, desk.window, revision)


def with_spec(desk: Desk, **changes: object) -> Desk:
    spec = desk.spec.model_copy(update=changes)
    return replace(desk, pipeline=replace(desk.pipeline, spec=spec))


def newer_golden_set(desk: Desk, root: Path) -> Desk:
    """A golden set whose labels are those of other rows."""
    path = root / GOLDEN
    path.parent.mkdir(parents=True)
    rows = pq.read_table(CHECKOUT / GOLDEN)
    place = rows.schema.get_field_index("late")
    others = pc.take(rows.column("late"), pa.array(range(rows.num_rows - 1, -1, -1)))
    pq.write_table(
        rows.set_column(place, rows.schema.field(place), others),
        path,
        write_page_checksum=True,
    )
    described = json.loads((CHECKOUT / GOLDEN).with_suffix(".json").read_text())
    described["sha256"] = file_sha256(path)
    path.with_suffix(".json").write_text(json.dumps(described))
    return replace(desk, project=replace(desk.project, root=root))


def test_what_did_not_change_comes_out_the_same_and_leaves_no_document(desk: Desk) -> None:
    desk.publish()
    manifest, later = desk.published(), evaluate_again(desk)
    assert later.record == manifest.evaluation
    assert later.measures is not None
    assert documents(desk) == []
    assert failure(desk) is None


def test_a_newer_golden_set_finds_a_published_revision_bad(desk: Desk, tmp_path: Path) -> None:
    desk.publish()
    newer = newer_golden_set(desk, tmp_path / "newer")
    evaluate_again(newer)
    found = failure(newer)
    assert found is not None
    assert (found.asset, found.name) == ("evaluation", "golden_quality")
    assert found.violations[0].rule.startswith("auroc at least 0.6 (found 0.")
    with pytest.raises(WindowRefused, match=r"auroc at least 0\.6 \(found 0\.") as refusal:
        newer.publish()
    back = f"batchinf rollback flight_delays 2013-07-04 --from {newer.visible()} --reason TEXT"
    assert refusal.value.next_step.startswith(f"Readers see it: take it back, `{back}`. ")

    evaluate_again(desk)  # the old set is back
    assert failure(desk) is None
    assert len(documents(desk)) == 1
    assert not desk.publish().changed


def test_drift_stands_as_recorded_where_nothing_was_kept_to_measure_it_again(desk: Desk) -> None:
    desk.publish()
    recorded = desk.published().evaluation
    revision = desk.visible() or ""
    (path,) = Path(str(desk.project.lake)).glob("flight_delays/sketches/*/*.parquet")
    rows = pq.read_table(path)
    other = pa.array(["0" * 64] * rows.num_rows, rows.schema.field("profile").type)
    place = rows.schema.get_field_index("profile")
    field = rows.schema.field(place)
    pq.write_table(rows.set_column(place, field, other), path, write_page_checksum=True)
    # Another process: this one keeps what it has read.
    from batchinf_assets.evaluation.drift import sketches

    sketches._read.cache_clear()
    later = evaluate_again(desk)
    assert revision
    assert recorded is not None
    assert later.measures is None
    assert later.record == recorded
    assert [check.name for check in later.checks] == ["golden_quality", "golden_set", "drift"]


def test_an_override_given_before_evaluation_ran_again_is_of_the_same_failure(desk: Desk) -> None:
    desk.publish()
    golden = desk.spec.golden.model_copy(update={"min_class_share": 0.4})
    strict = with_spec(desk, golden=golden, gate=GateSpec(golden_set="block"))
    held = held_verdicts(strict.project, strict.spec, strict.window)
    (only,) = held.failures
    record = new_override(held, "golden_set", by="ann", reason="Few delays", at=NOW)
    write_override(strict.project, strict.spec, held, record)
    evaluate_again(strict)
    again = held_verdicts(strict.project, strict.spec, strict.window)
    assert again.failures[0].violations != only.violations
    assert failure(strict) is None
    assert not strict.publish().changed


def test_a_signed_override_excuses_no_later_failure_of_the_same_check(
    desk: Desk, tmp_path: Path
) -> None:
    bound = desk.spec.golden.model_copy(update={"at_least": {"auroc": 0.9}})
    strict = with_spec(desk, golden=bound)
    strict.prepare()
    held = held_verdicts(strict.project, strict.spec, strict.window)
    record = new_override(held, "golden_quality", by="ann", reason="Looked at it", at=NOW)
    write_override(strict.project, strict.spec, held, record)
    strict.publish()
    evaluate_again(strict)
    assert failure(strict) is None
    newer = newer_golden_set(strict, tmp_path / "newer")
    evaluate_again(newer)
    assert failure(newer) is not None


def test_a_lost_provenance_of_the_golden_set_is_no_verdict_on_a_revision(
    desk: Desk, tmp_path: Path
) -> None:
    strict = with_spec(desk, gate=GateSpec(golden_set="block"))
    strict.publish()
    path = tmp_path / "lost" / GOLDEN
    path.parent.mkdir(parents=True)
    shutil.copy(CHECKOUT / GOLDEN, path)
    lost = replace(strict, project=replace(strict.project, root=tmp_path / "lost"))
    with pytest.raises(GoldenSetInvalid, match=r"has lost its provenance .*flight_delays\.json"):
        evaluate_again(lost)
    assert documents(desk) == []
    assert failure(lost) is None
    shutil.copy((CHECKOUT / GOLDEN).with_suffix(".json"), path.parent)
    evaluate_again(lost)
    assert failure(lost) is None


def test_what_was_gone_back_to_would_not_fail_itself(shown: Shown, tmp_path: Path) -> None:
    desk = newer_golden_set(shown.desk, tmp_path / "newer")
    policy = RollbackSpec(automatic=("evaluation",))
    desk = with_spec(desk, rollback=policy)
    evaluate_again(desk)
    old = desk.store.read(desk.window, shown.old)
    assert failed_evaluation(desk.project, desk.registry, desk.spec, desk.window, old)
    found = failure(desk)
    assert found is not None
    done = roll_back_if_condemned(
        desk.project,
        desk.registry,
        desk.spec,
        desk.window,
        found,
        run_id="evaluation",
        now=datetime.now(UTC),
        measured=shown.bad,
    )
    assert done is not None
    assert (done.state, desk.visible()) == ("nothing_to_go_back_to", shown.bad)
    (sentence,) = done.stepped_over
    assert sentence.startswith(f"Revision {shown.old} of window 2013-07-04 cannot be shown again: ")
    assert "auroc at least 0.6" in sentence


def test_a_damaged_later_evaluation_is_named(desk: Desk, tmp_path: Path) -> None:
    desk.publish()
    evaluate_again(newer_golden_set(desk, tmp_path / "newer"))
    (path,) = documents(desk)
    assert path.name == f"{desk.visible()}.json"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ManifestInvalid, match=path.name):
        failure(desk)
