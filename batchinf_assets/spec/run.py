"""What a user declares of runs: windows of each, how often it is tried again, what it may take.

Nothing here runs or measures anything; `retries`, `backfill.caps` and `orchestration` do.
"""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field, model_validator

from batchinf_assets.spec.contract import Declared


class BackfillSpec(Declared):
    """How a range of windows is cut into runs."""

    chunk: int = Field(default=92, ge=1, le=10_000, description="Windows per run.")
    workers: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="Windows of a run worked on at the same time, each in a process of its own. "
        "If null one per core in a run of 8 or more windows that have a shard each, else 1: a "
        "larger window keeps all cores busy by itself.",
    )


class RetrySpec(Declared):
    """How often what may pass is tried again; what will not pass never is."""

    tries: int = Field(default=3, ge=1, le=10, description="Of a window in a step, in one run.")
    first_delay: timedelta = Field(
        default=timedelta(seconds=1),
        gt=timedelta(0),
        description="At most this long before the second try; twice as long before each further.",
    )
    longest_delay: timedelta = Field(default=timedelta(minutes=1), gt=timedelta(0))
    budget: int = Field(
        default=20, ge=0, description="Retries of a step over all windows of its run."
    )
    relaunches: int = Field(
        default=3, ge=0, le=20, description="Runs of a window for one whose worker died."
    )
    max_runtime: timedelta = Field(
        default=timedelta(days=1),
        ge=timedelta(minutes=1),
        description="After which Dagster ends a run of the pipeline's jobs.",
    )

    @model_validator(mode="after")
    def _delays_grow(self) -> RetrySpec:
        if self.longest_delay < self.first_delay:
            raise ValueError("retries.longest_delay must not be below retries.first_delay")
        return self


class PriceSpec(Declared):
    """What the machine costs that runs windows."""

    machine_hour: float = Field(ge=0, description="Of the whole machine, for one hour.")
    currency: str = Field(pattern=r"^[A-Z]{3}$", description="Three letters, as in ISO 4217.")


class CapsSpec(Declared):
    """How much one run may take until its last shard, whatever number of windows it has.

    A cap on the cost without a price lets no run start without an approval: what is unknown is not
    zero.
    """

    seconds: float | None = Field(default=None, gt=0, description="Wall time.")
    cost: float | None = Field(default=None, gt=0, description="In the currency of `price`.")
