"""One try at one window in one step of a run, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from batchinf_assets.checks import CheckResult
from batchinf_assets.orchestration.metadata.results import Metadata
from batchinf_assets.side_by_side import OneByOne, Order


@dataclass(frozen=True, kw_only=True)
class Try:
    """One try at a window.

    Attributes:
        run_id: The run.
        again: How often the run tried this step of this window before.
        order: The window's place among those that the run works on at the same time.
        require_left: Raises where the run may begin no further window or shard.
    """

    run_id: str
    again: int
    order: Order = field(default_factory=OneByOne)
    require_left: Callable[[], None] = lambda: None


@dataclass(frozen=True, kw_only=True)
class WindowResult:
    """What a step did for one window.

    Attributes:
        data_version: Identity of the result; None where there is a state to report but no result.
        metadata: What the UI shows.
        checks: Checks on the result, all of which passed if they block.
        inputs: Data versions that it was made of, by asset name, where the step knows better than
            Dagster's event log: which model scored.
        is_to_follow_up: Whether it asks for something that only the run itself can do.
    """

    data_version: str | None
    metadata: Metadata
    checks: Sequence[CheckResult] = field(default_factory=tuple[CheckResult, ...])
    inputs: Mapping[str, str] = field(default_factory=dict[str, str])
    is_to_follow_up: bool = False
