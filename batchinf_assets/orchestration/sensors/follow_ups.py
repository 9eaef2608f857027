"""Failed performance whose consequences were not drawn: a run is to draw them.

A run that measures a window opens tickets and takes revisions back. One that fails on the way
leaves figures that say so. How often another is asked for is told by `repeated_requests`.
"""

from collections.abc import Iterator, Mapping

from batchinf_assets.evaluation.realised.measured import Measured, measured_in
from batchinf_assets.lake.place import Place
from batchinf_assets.orchestration.sensors.repeated_requests import FOLLOW_UP_RUNS, ToDo
from batchinf_assets.spec.pipeline import PipelineSpec

CHECK = "follow_up"


def not_followed_up(
    spec: PipelineSpec, figures: Mapping[str, Place], visible: Mapping[str, str]
) -> Iterator[ToDo]:
    """Yield the windows whose figures failed and had no consequence yet.

    Args:
        spec: The pipeline.
        figures: The file of figures by window key.
        visible: The revision that readers see by window key.

    Raises:
        ManifestInvalid: A file of figures is damaged.
    """
    for key, file in figures.items():
        found = measured_in(file)
        if found.revision == visible[key] and not found.followed_up:
            yield ToDo(
                window=key,
                name=f"{key}:{found.outcomes}:{found.revision}",
                check=CHECK,
                cause=_cause(spec, key, found),
            )


def _cause(spec: PipelineSpec, window: str, found: Measured) -> str:
    outcomes = (found.outcomes or "none")[:16]
    back = f"batchinf rollback {spec.name} {window} --from {found.revision} --reason TEXT"
    return (
        f"{FOLLOW_UP_RUNS} runs failed to do what follows from the performance of revision "
        f"{found.revision} of window {window} (outcomes {outcomes}); no other is asked for. Read "
        f"their logs; take it back by hand (`{back}`), or materialize {spec.name}/performance"
    )
