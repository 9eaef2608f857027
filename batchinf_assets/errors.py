"""Every failure a user can meet, as one line that says what is wrong and what to do next."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum

from batchinf_assets.checks import CheckResult


class FailureClass(StrEnum):
    """What a failure is about, which decides whether trying again may mend it.

    `docs/automation.md` has the table of which error is of which class.
    """

    TRANSIENT = "transient"
    PREEMPTED = "preempted"
    CONFLICT = "conflict"
    DATA = "data"
    CONTRACT = "contract"
    PERMISSION = "permission"
    SIGNATURE = "signature"
    DECLARATION = "declaration"
    MACHINE = "machine"
    UNEXPECTED = "unexpected"


class BatchinfError(Exception):
    """A failure with a name, a sentence and a next step.

    Attributes:
        message: What is wrong; names the file, column, window or model.
        next_step: What the reader can do about it.
        exit_code: 1 when the thing checked is not fine, 2 when the command was used wrongly.
        failure_class: Whether trying again may mend it; what is read is damaged where nothing else
            is said.
    """

    exit_code = 1
    failure_class = FailureClass.DATA

    def __init__(self, message: str, *, next_step: str) -> None:
        self.message = message
        self.next_step = next_step
        super().__init__(f"{message} {next_step}")

    def __reduce__(self) -> tuple[Callable[..., BatchinfError], tuple[object, ...]]:
        """Go from process to process whole: an exception does so by its positional arguments."""
        return _restored, (type(self), self.args, self.__dict__)


def _restored(
    kind: type[BatchinfError], args: tuple[object, ...], attributes: Mapping[str, object]
) -> BatchinfError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error


class UsageError(BatchinfError):
    """The command or the declaration is wrong, not the data."""

    exit_code = 2
    failure_class = FailureClass.DECLARATION


class UnknownPipeline(UsageError):
    """No `defs.yaml` declares a pipeline of this name."""


class UnknownWindow(UsageError):
    """The window is not one that the pipeline declares."""


class InvalidSpec(UsageError):
    """A `defs.yaml` or one of the files beside it does not fit the spec."""


class LandedFileMissing(BatchinfError):
    """A file that should have landed is not there."""


class LandingFault(StrEnum):
    """Why a landed file was refused: stable codes, for alerts and for tests."""

    NO_FILE = "no_file"
    UNREADABLE = "unreadable"
    CHANGED_WHILE_READ = "changed_while_read"
    EMPTY = "empty"
    NOT_PARQUET = "not_parquet"
    TRUNCATED = "truncated"
    DAMAGED = "damaged"
    TOO_LARGE = "too_large"
    TOO_MANY_ROWS = "too_many_rows"
    TOO_MANY_COLUMNS = "too_many_columns"
    TEXT_TOO_LONG = "text_too_long"
    EXPANDS_TOO_FAR = "expands_too_far"
    BAD_ENCODING = "bad_encoding"
    NUL_BYTE = "nul_byte"
    MALFORMED_LINE = "malformed_line"
    BAD_VALUE = "bad_value"
    NO_HEADER = "no_header"
    DUPLICATE_COLUMN = "duplicate_column"
    NESTED_COLUMN = "nested_column"


class LandedFileUnreadable(BatchinfError):
    """A landed file is closed to us, damaged, not of its format, or above a declared limit.

    Attributes:
        reason: The code of what is wrong with it.
    """

    def __init__(self, message: str, *, reason: LandingFault, next_step: str) -> None:
        super().__init__(message, next_step=next_step)
        self.reason = reason


class WindowMissing(BatchinfError):
    """A table holds nothing for the window that a later step needs."""


class FeatureSqlFailed(BatchinfError):
    """DuckDB refused a pipeline's SQL, or its result lacks declared columns."""

    failure_class = FailureClass.CONTRACT


class ModelUnavailable(BatchinfError):
    """The registry has no model under the declared name and alias."""

    failure_class = FailureClass.DECLARATION


class Refusal(StrEnum):
    """Why a model was refused: stable codes, for alerts and for tests."""

    UNSIGNED = "unsigned"
    WRONG_KEY = "wrong_key"
    BAD_SIGNATURE = "bad_signature"
    SIGNATURE_EXPIRED = "signature_expired"
    KEY_EXPIRED = "key_expired"
    KEY_REVOKED = "key_revoked"
    OTHER_MODEL = "other_model"
    NOT_PROMOTED = "not_promoted"
    OLDER_VERSION = "older_version_replayed"
    CHANGED_FILE = "changed_file"
    ADDED_FILE = "added_file"
    MISSING_FILE = "missing_file"
    NO_PLAIN_FILE = "no_plain_file"
    PICKLE = "pickle_or_joblib"
    UNREVIEWED_TYPE = "unreviewed_type"
    EXTERNAL_DATA = "external_data"
    OVERSIZED_MEMBER = "oversized_member"
    UNREADABLE = "unreadable"
    SCHEMA = "schema"
    ROWS = "rows_refused"
    TIME_LIMIT = "time_limit"
    MEMORY_LIMIT = "memory_limit"
    CRASHED = "crashed_while_loading"
    NOT_REGISTERED_HERE = "not_registered_here"
    UNDESCRIBED = "undescribed"
    GATE = "promotion_gate"
    PARITY = "parity"
    OPEN_SANDBOX = "open_sandbox"


class ModelRefused(BatchinfError):
    """A model does not verify, does not fit the features, or may not be promoted.

    Attributes:
        reason: The code of the clause that refused it.
    """

    failure_class = FailureClass.SIGNATURE

    def __init__(self, message: str, *, reason: Refusal, next_step: str) -> None:
        super().__init__(message, next_step=next_step)
        self.reason = reason

    def __str__(self) -> str:
        return f"{super().__str__()} [{self.reason}]"


class KeyringInvalid(BatchinfError):
    """The keyring is missing or damaged, or lacks the key that was asked for."""

    failure_class = FailureClass.SIGNATURE


class SigningKeyUnavailable(BatchinfError):
    """There is no private key to sign with, or it is not kept as it must be."""

    failure_class = FailureClass.SIGNATURE


class GoldenSetInvalid(BatchinfError):
    """The golden set is missing or lacks declared columns."""

    failure_class = FailureClass.DECLARATION


class ManifestInvalid(BatchinfError):
    """A manifest is missing, unreadable, or contradicts the files that it names."""


class DocumentTooLarge(ManifestInvalid):
    """A stored document is larger than any that this package writes; it was not read."""

    def __init__(self, place: object, limit: int) -> None:
        super().__init__(
            f"{place} has more than {limit} bytes.", next_step="Restore it from a backup."
        )


class LostRace(BatchinfError):
    """Another run committed the same window first."""

    failure_class = FailureClass.CONFLICT


class Fenced(LostRace):
    """A newer attempt at the window has begun; what this one prepared must not be committed."""


class LeaseLost(LostRace):
    """This run could not show for too long that it lives; nobody is known to have taken over."""

    failure_class = FailureClass.TRANSIENT


class WindowCrashed(BatchinfError):
    """An error that nobody foresaw ended the work at one window; its traceback is in the log."""

    failure_class = FailureClass.UNEXPECTED


class StorageRefused(BatchinfError):
    """The store answered that we may not; asking again would not help."""

    failure_class = FailureClass.PERMISSION


class StorageFailed(BatchinfError):
    """A disk is full or broken; nothing became visible."""

    failure_class = FailureClass.MACHINE


class StorageUnavailable(BatchinfError):
    """The store does not answer, or not in time, whatever was tried again."""

    failure_class = FailureClass.TRANSIENT


class WindowRefused(BatchinfError):
    """A blocking check failed, so the window was not written.

    Attributes:
        checks: All the checks that ran on the window, failed and passed.
    """

    failure_class = FailureClass.CONTRACT

    def __init__(self, message: str, *, next_step: str, checks: Sequence[CheckResult]) -> None:
        super().__init__(message, next_step=next_step)
        self.checks = tuple(checks)


class HeldForApproval(BatchinfError):
    """Corrected data landed later than the pipeline takes it unasked; what was frozen stays."""

    failure_class = FailureClass.PERMISSION


class Overrun(StrEnum):
    """Why a run is above its cap: stable codes, for alerts and for tests."""

    PREDICTED = "predicted"
    SPENT = "spent"
    PRICE_UNKNOWN = "price_unknown"


class RunOverCap(BatchinfError):
    """A run is predicted to take more than its cap, or has; it goes on only after an approval.

    Attributes:
        reason: The code of what is above its cap, or not known to be below.
    """

    failure_class = FailureClass.PERMISSION

    def __init__(self, message: str, *, reason: Overrun, next_step: str) -> None:
        super().__init__(message, next_step=next_step)
        self.reason = reason


class Preempted(BatchinfError):
    """The process was asked to leave; what was finished stays, and another try goes on from there.

    The exit code is that of sysexits(3) for a failure that another try may mend.
    """

    exit_code = 75
    failure_class = FailureClass.PREEMPTED


class WorkerDied(BatchinfError):
    """A process that worked on a window for its run ended before it was done."""

    failure_class = FailureClass.TRANSIENT


class ShardFailed(BatchinfError):
    """A shard could not be read, held or written; the window was not changed."""

    failure_class = FailureClass.MACHINE
