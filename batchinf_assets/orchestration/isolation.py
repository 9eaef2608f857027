"""What keeps one window's failure from the others of its run: retries, and a fence around crashes.

`window_runs` goes on after a refusal, which is a value. Here what may pass is tried again first,
and an error that nobody foresaw becomes such a refusal. This is the one place that catches
everything; see `docs/decisions/0001-window-status-in-range-runs.md`.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace

import dagster as dg

from batchinf_assets.errors import BatchinfError, WindowCrashed
from batchinf_assets.orchestration.window_runs import WindowResult
from batchinf_assets.retries import Retries, Retry
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

RETRIES = "batchinf/retries"
CRASHES_ALLOWED = 3
"""Per step of a run: what crashed so many windows is in the code or the machine, not in them."""


@dataclass(frozen=True, kw_only=True)
class Try:
    """One try at a window.

    Attributes:
        run_id: The run.
        again: How often the run tried this step of this window before.
    """

    run_id: str
    again: int


def isolated(
    context: dg.AssetExecutionContext,
    spec: PipelineSpec,
    step: Callable[[Try, Window], WindowResult],
) -> Callable[[Window], WindowResult]:
    """Return a step for `run_windows` that fails in no way but by a `BatchinfError`.

    Args:
        context: The step's context; its log has every retry, and the traceback of every crash.
        spec: Whose windows they are.
        step: Works on one window.
    """
    crashed = list[str]()

    def said(retry: Retry) -> None:
        when = f"Retry {retry.again} of {retry.of} in {retry.delay_seconds:.1f} s"
        context.log.warning(f"{when}: {_named(retry.error)}")

    retries = Retries(spec.retries, said)

    def once(window: Window, again: int) -> WindowResult:
        result = step(Try(run_id=context.run.run_id, again=again), window)
        shown = {RETRIES: dg.MetadataValue.int(again)} if again else {}
        return replace(result, metadata={**result.metadata, **shown})

    def contained(window: Window) -> WindowResult:
        name = f"{context.asset_key.path[-1]} of {spec.name}"
        if len(crashed) >= CRASHES_ALLOWED:
            raise _not_tried(name, window, crashed)
        try:
            return retries.run(lambda again: once(window, again))
        except (BatchinfError, dg.DagsterError, dg.Failure):
            raise
        except Exception as error:  # noqa: BLE001 - the boundary: see the module's docstring
            crashed.append(window.key)
            raise _crash(context, name, window, error) from None

    return contained


def _crash(
    context: dg.AssetExecutionContext, name: str, window: Window, error: Exception
) -> WindowCrashed:
    context.log.error(f"{window}: {_frames(error)}")
    return WindowCrashed(
        f"Window {window} crashed in {name}: {_named(error)}.",
        next_step="Its traceback is in the run's log; the other windows went on.",
    )


def _not_tried(name: str, window: Window, crashed: list[str]) -> WindowCrashed:
    return WindowCrashed(
        f"Window {window} was not tried in {name}, as {', '.join(crashed)} crashed there.",
        next_step="Mend what the tracebacks in the run's log show, then run what failed again.",
    )


def _named(error: Exception) -> str:
    """Name an error without a foreign one's message: that may quote an address with a password."""
    if isinstance(error, BatchinfError):
        return error.message
    kind = type(error).__name__
    if not isinstance(error, OSError) or error.strerror is None:
        return kind
    path = f" ({error.filename})" if error.filename else ""
    return f"{kind}: {error.strerror}{path}"


def _frames(error: BaseException) -> str:
    """Write the traceback, of the causes too, without their messages: see `_named`."""
    found, chain = "", [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) and cause not in chain:
        chain.append(cause)
    for each in reversed(chain):
        found += "".join(traceback.format_tb(each.__traceback__)) + f"{type(each).__name__}\n"
    return found
