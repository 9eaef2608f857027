"""What keeps one window's failure from the others of its run: retries, and a fence around crashes.

`window_runs` goes on after a refusal, which is a value. Here what may pass is tried again first,
and an error that nobody foresaw becomes such a refusal. This is the one place that catches
everything; see `docs/decisions/0001-window-status-in-range-runs.md`.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace

import dagster as dg

from batchinf_assets.errors import BatchinfError, WindowCrashed, WorkerDied
from batchinf_assets.orchestration.steps.errands import frames_of, kind_of
from batchinf_assets.orchestration.steps.tries import WindowResult
from batchinf_assets.retries import Retries, Retry
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

RETRIES = "batchinf/retries"
CRASHES_ALLOWED = 3
"""Per step of a run: what crashed so many windows is in the code or the machine, not in them."""

_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "Make room there"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "Let this user write there"),
}

Act = Callable[[int], WindowResult]
"""Told how often it was tried before."""

Contained = Callable[[Window, Act], WindowResult]


def isolated(context: dg.AssetExecutionContext, spec: PipelineSpec) -> Contained:
    """Return what does something about a window that fails in no way but by a `BatchinfError`.

    Args:
        context: The step's context; its log has every retry, and the traceback of every crash.
        spec: Whose windows they are.
    """
    crashed = list[str]()

    def said(retry: Retry) -> None:
        when = f"Retry {retry.again} of {retry.of} in {retry.delay_seconds:.1f} s"
        context.log.warning(f"{when}: {_named(retry.error)}")

    retries = Retries(spec.retries, said)

    def contained(window: Window, act: Act) -> WindowResult:
        name = f"{context.asset_key.path[-1]} of {spec.name}"
        if len(crashed) >= CRASHES_ALLOWED:
            raise _not_tried(name, window, crashed)
        try:
            return retries.run(lambda again: _counted(act(again), again))
        except WorkerDied:  # again and again, as what is killed once comes through another time
            crashed.append(window.key)
            raise
        except (BatchinfError, dg.DagsterError, dg.Failure):
            raise
        except Exception as error:  # noqa: BLE001 - the boundary: see the module's docstring
            crashed.append(window.key)
            raise _crash(context, name, window, error) from None

    return contained


def _counted(result: WindowResult, again: int) -> WindowResult:
    shown = {RETRIES: dg.MetadataValue.int(again)} if again else {}
    return replace(result, metadata={**result.metadata, **shown})


def _crash(
    context: dg.AssetExecutionContext, name: str, window: Window, error: Exception
) -> WindowCrashed:
    context.log.error(f"{window}: {frames_of(error)}")
    remedy = _REMEDIES.get(error.errno or 0) if isinstance(error, OSError) else None
    return WindowCrashed(
        f"Window {window} crashed in {name}: {_named(error)}.",
        next_step=f"{remedy}, then run it again."
        if remedy
        else "Its traceback is in the run's log; the other windows went on.",
    )


def _not_tried(name: str, window: Window, crashed: list[str]) -> WindowCrashed:
    return WindowCrashed(
        f"Window {window} was not tried in {name}, as {', '.join(crashed)} crashed there.",
        next_step="Mend what the run's log says of those, by a traceback or by what ended the "
        "process, then run what failed again.",
    )


def _named(error: Exception) -> str:
    """Name an error without a foreign one's message: that may quote an address with a password."""
    if isinstance(error, BatchinfError):
        return error.message
    kind = kind_of(error)
    if not isinstance(error, OSError) or error.strerror is None:
        return kind
    path = f" ({error.filename})" if error.filename else ""
    return f"{kind}: {error.strerror}{path}"
