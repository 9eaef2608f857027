"""Trailing figures of what was before: their windows are to be measured again.

Whether they are stale is told by `realised.trailing_state`; how often runs are asked for, and who
is told when none comes through, by `repeated_requests`.
"""

from collections.abc import Iterator, Mapping

from batchinf_assets.evaluation.realised.trailing_state import TrailingHistory
from batchinf_assets.orchestration.sensors.repeated_requests import FOLLOW_UP_RUNS, ToDo
from batchinf_assets.spec.pipeline import PipelineSpec

CHECK = "trailing"


def stale_windows(spec: PipelineSpec, found: Mapping[str, TrailingHistory]) -> Iterator[ToDo]:
    """Yield what is to be measured again, in the order of `found`.

    Args:
        spec: The pipeline.
        found: What trailing figures are made of, by window key.
    """
    for key, history in found.items():
        if history.state == "stale":
            yield ToDo(
                window=key,
                name=f"{key}:trailing:{history.now}",
                check=CHECK,
                cause=_cause(spec, key, history),
            )


def _cause(spec: PipelineSpec, window: str, history: TrailingHistory) -> str:
    return (
        f"{FOLLOW_UP_RUNS} runs failed to measure window {window} again, whose figures over "
        f"several windows are stale (they would be made of {history.now}); no other is asked for. "
        f"Read their logs, then materialize {spec.name}/performance of it"
    )
