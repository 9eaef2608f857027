"""Commands that prove what is published: every digest again, or the whole scoring again."""

from __future__ import annotations

import re
import sys
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import click

from batchinf_assets.cli.workplace import as_json, complain, here, open_instance, open_registry
from batchinf_assets.console import bar, print_json
from batchinf_assets.errors import BatchinfError, UsageError
from batchinf_assets.lake.presence import Presence
from batchinf_assets.project import Project
from batchinf_assets.spec.load import load_pipeline
from batchinf_assets.spec.pipeline import PipelineSpec

if TYPE_CHECKING:
    from batchinf_assets.publishing.proof.replay import Replay
    from batchinf_assets.publishing.proof.verify import Verification
    from batchinf_assets.publishing.rollback.remedies import Remedy
    from batchinf_assets.publishing.rollback.roll_back import Rollback
    from batchinf_assets.registry.registry import Registry

EVERY = click.option("--all", "all_", is_flag=True, help="Every published window.")


@click.command()
@click.argument("pipeline")
@click.argument("window", required=False)
@EVERY
@click.option("--revision", help="A superseded revision of WINDOW instead of the published one.")
@click.option("--take-back", is_flag=True, help="Take damaged revisions back, as the policy says.")
@as_json
def verify(
    *,
    pipeline: str,
    window: str | None,
    all_: bool,
    revision: str | None,
    take_back: bool,
    json_: bool,
) -> None:
    """Verify what is published: exit 0 only if every digest, count, key and signature holds.

    Nothing is changed without --take-back. With it, and where the policy in defs.yaml says so
    (`rollback.automatic` names `verification`), a published revision that is damaged, or whose key
    was revoked, is taken back to the newest earlier one that verifies; but none where many are
    damaged at once. What cannot be read is not known to be damaged.
    """
    from batchinf_assets.publishing.proof.verify import verify_key
    from batchinf_assets.publishing.rollback.remedies import judge_damage

    spec, project = load_pipeline(pipeline).spec, here()
    presence = Presence.of(project.lake / spec.name)
    if revision is not None:
        require_revision(revision, window, take_back=take_back)
    with presence.required():
        keys = _chosen(project, spec, window, all_=all_)
    registry = open_registry(project)
    if window is not None:
        spec.window.window(window)  # refused here if it is none: nobody found it, somebody named it
    verified = [
        verify_key(project, registry, spec, key, presence, revision=revision)
        for key in bar(keys, "Verifying", shown=not json_)
    ]
    failed = [found for found in verified if not found.holds]
    damaged = judge_damage(project, registry, spec, failed) if revision is None else {}
    if not json_:
        _complain(failed, {} if take_back else damaged)
    done = _taken_back(project, registry, spec, damaged) if take_back else damaged
    if json_:
        print_json([_document(found, done.get(found.window)) for found in verified])
    else:
        for key, remedy in done.items() if take_back else ():
            complain(f"{key}: {remedy}")
        click.echo(f"{len(verified) - len(failed)} of {len(verified)} windows verify.")
    sys.exit(1 if failed else 0)


def _taken_back(
    project: Project, registry: Registry, spec: PipelineSpec, damaged: Mapping[str, Remedy]
) -> Mapping[str, Remedy]:
    from batchinf_assets.publishing.rollback.remedies import take_all_back

    @contextmanager
    def telling() -> Generator[Callable[[Rollback], None]]:
        from batchinf_assets.orchestration.rollback.roll_back import tell_dagster

        with open_instance(project) as instance:
            yield partial(tell_dagster, instance, spec)

    run_id, now = str(uuid.uuid4()), datetime.now(UTC)
    return take_all_back(project, registry, spec, damaged, run_id=run_id, now=now, telling=telling)


def _complain(failed: Sequence[Verification], remedies: Mapping[str, Remedy]) -> None:
    for found in failed:
        for problem in found.problems:
            complain(f"{found.window}: {problem}")
        if found.window in remedies:
            complain(f"{found.window}: {remedies[found.window]}")


@click.command()
@click.argument("pipeline")
@click.argument("window", required=False)
@EVERY
@as_json
def replay(*, pipeline: str, window: str | None, all_: bool, json_: bool) -> None:
    """Score published windows again from their manifests, in a scratch folder, and compare.

    Exit 0 only if the same rows come out; whether the files are the same bytes is told beside.
    """
    from batchinf_assets.publishing.proof.replay import replay_window

    declared, project = load_pipeline(pipeline), here()
    presence = Presence.of(project.lake / declared.spec.name)
    with presence.required():
        keys = _chosen(project, declared.spec, window, all_=all_)
    registry = open_registry(project)
    replays: dict[str, Replay] = {}
    failures: dict[str, str] = {}
    for key in bar(keys, "Replaying", shown=not json_):
        try:
            with presence.required():
                found = declared.spec.window.window(key)
                replays[key] = replay_window(project, registry, declared, found)
        except BatchinfError as error:  # one window that cannot be replayed hides no other
            failures[key] = str(error)
    same = [key for key, replayed in replays.items() if replayed.same_rows]
    if json_:
        failed = [{"window": key, "failure": reason} for key, reason in failures.items()]
        print_json([*map(asdict, replays.values()), *failed])
    else:
        _tell(replays, failures)
        click.echo(f"{len(same)} of {len(keys)} windows came out the same.")
    sys.exit(0 if len(same) == len(keys) else 1)


def _document(found: Verification, done: Remedy | None) -> dict[str, object]:
    remedy = {"rollback": _rollback(done), "next_step": done.next_step} if done else {}
    return {**asdict(found), "holds": found.holds, **remedy}


def _rollback(remedy: Remedy) -> dict[str, object] | None:
    done = remedy.rollback
    if done is None:
        return None
    return {
        "state": done.state,
        "before": asdict(done.before) if done.before else None,
        "after": asdict(done.after) if done.after else None,
        "stepped_over": list(done.stepped_over),
    }


def require_revision(revision: str, window: str | None, *, take_back: bool = False) -> None:
    """Require an id that may become a path, and the window that it belongs to.

    Raises:
        UsageError: It is no revision's id, or no window is named, or it is to be taken back.
    """
    if take_back:
        raise UsageError(
            "--take-back is about what readers see, and not about a --revision.",
            next_step="Leave one of them out.",
        )
    if window is None or not re.fullmatch(r"[0-9a-f]{16}", revision):
        raise UsageError(
            "--revision needs one window and the 16 hex digits of a revision.",
            next_step="`batchinf manifest` shows the one that is published.",
        )


def _tell(replays: Mapping[str, Replay], failures: Mapping[str, str]) -> None:
    for key, replayed in replays.items():
        digests = f"{replayed.published_digest[:16]} → {replayed.replayed_digest[:16]}"
        what = "same" if replayed.same_rows else "OTHER"
        files = "same bytes" if replayed.same_bytes else "other bytes"
        click.echo(
            f"{key}: {what} {replayed.rows:,} rows ({digests}), {files}, "
            f"features {replayed.features}."
        )
        for note in replayed.notes:
            click.echo(f"  {note}")
    for key, reason in failures.items():
        complain(f"{key}: {reason}")


def _chosen(
    project: Project, spec: PipelineSpec, window: str | None, *, all_: bool
) -> Sequence[str]:
    from batchinf_assets.publishing.visible import published_revisions

    if (window is None) != all_:
        command = click.get_current_context().info_name
        raise UsageError(
            f"{command} needs one window or --all.", next_step=f"See `batchinf {command} -h`."
        )
    keys = sorted(published_revisions(project, spec)) if window is None else [window]
    if not keys:
        raise UsageError(
            f"Nothing of {spec.name} is published, so there is nothing to look at.",
            next_step=f"Run a window: `batchinf run {spec.name} WINDOW`.",
        )
    return keys
