"""Every failure a user can meet, as one line that says what is wrong and what to do next."""

from __future__ import annotations

from collections.abc import Sequence

from batchinf_assets.checks import CheckResult


class BatchinfError(Exception):
    """A failure with a name, a sentence and a next step.

    Attributes:
        message: What is wrong; names the file, column, window or model.
        next_step: What the reader can do about it.
        exit_code: 1 when the thing checked is not fine, 2 when the command was used wrongly.
    """

    exit_code = 1

    def __init__(self, message: str, *, next_step: str) -> None:
        self.message = message
        self.next_step = next_step
        super().__init__(f"{message} {next_step}")


class UsageError(BatchinfError):
    """The command or the declaration is wrong, not the data."""

    exit_code = 2


class UnknownPipeline(UsageError):
    """No `defs.yaml` declares a pipeline of this name."""


class UnknownWindow(UsageError):
    """The window is not one that the pipeline declares."""


class InvalidSpec(UsageError):
    """A `defs.yaml` or one of the files beside it does not fit the spec."""


class LandedFileMissing(BatchinfError):
    """A file that should have landed is not there."""


class LandedFileUnreadable(BatchinfError):
    """A landed file is empty, truncated, corrupt, no file, or closed to us."""


class WindowMissing(BatchinfError):
    """A table holds nothing for the window that a later step needs."""


class FeatureSqlFailed(BatchinfError):
    """DuckDB refused a pipeline's SQL, or its result lacks declared columns."""


class ModelUnavailable(BatchinfError):
    """The registry has no model under the declared name and alias."""


class ModelRefused(BatchinfError):
    """A model artifact does not verify or does not fit the pipeline's features."""


class GoldenSetInvalid(BatchinfError):
    """The golden set is missing or lacks declared columns."""


class ManifestInvalid(BatchinfError):
    """A manifest is missing, unreadable, or contradicts the files that it names."""


class LostRace(BatchinfError):
    """Another run committed the same window first."""


class WindowRefused(BatchinfError):
    """A blocking check failed, so the window was not written.

    Attributes:
        checks: All the checks that ran on the window, failed and passed.
    """

    def __init__(self, message: str, *, next_step: str, checks: Sequence[CheckResult]) -> None:
        super().__init__(message, next_step=next_step)
        self.checks = tuple(checks)
