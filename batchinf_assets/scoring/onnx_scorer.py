"""Score rows by ONNX Runtime, for models that are registered as ONNX.

What the bytes may hold was inspected before they come here; which scorer a model uses is decided
in `scoring.parity`.

ONNX Runtime 1.32 splits the trees of an ensemble among its threads when it gets few rows, and adds
the parts in another order than for many rows: up to 1e-5 lay between the two. With one thread per
session and blocks of one size, answers were bit-equal wherever a table was cut. So every block has
the same number of rows (the last one is filled up with copies of its last row), a session has one
thread, and more threads score more blocks at a time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batchinf_assets.errors import ModelRefused, Refusal, UsageError
from batchinf_assets.scoring.frame import feature_column
from batchinf_assets.scoring.scorer import Scorer
from batchinf_assets.spec.contract import NUMERIC, ColumnType, FeatureSpec

BLOCK_ROWS = 1_024
"""Rows per call of the session, unless the model declares how many it reads at once."""

_DTYPES: dict[str, npt.DTypeLike] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}
_NUMBERS: frozenset[ColumnType] = frozenset({*NUMERIC, "bool"})
_READABLE: dict[str, frozenset[ColumnType]] = {
    "tensor(float)": _NUMBERS,
    "tensor(double)": _NUMBERS,
    "tensor(int64)": frozenset({"int32", "int64", "bool"}),
    "tensor(int32)": frozenset({"int32", "bool"}),
    "tensor(bool)": frozenset({"bool"}),
    "tensor(string)": frozenset({"string"}),
}
_FLOATING = ("tensor(float)", "tensor(double)")


@dataclass(frozen=True, kw_only=True)
class ModelInput:
    """One tensor that the model reads.

    Attributes:
        name: Its name in the graph.
        type: Its type in ONNX Runtime's words, such as `tensor(float)`.
        features: The features that it holds, in order.
        flat: Whether its shape is (rows,) and not (rows, features).
    """

    name: str
    type: str
    features: tuple[str, ...]
    flat: bool


@dataclass(frozen=True, kw_only=True)
class OnnxScorer:
    """An ONNX model in a session of ONNX Runtime.

    Attributes:
        session: The session; it may be run by several threads at once.
        columns: The declared features, in the model's order.
        inputs: What the model reads.
        output: The tensor to read: probabilities per class, or values.
        classes: Its declared width; 0 where the model leaves it open.
        block_rows: Rows per call of the session.
        threads: Blocks scored at once; the answer does not depend on it.
        name: `onnxruntime` and its version.
    """

    session: Any
    columns: Mapping[str, FeatureSpec]
    inputs: tuple[ModelInput, ...]
    output: str
    classes: int
    block_rows: int
    threads: int
    name: str

    def outputs(self, features: pa.Table) -> npt.NDArray[np.float64]:
        """Return probabilities, float64 (rows, classes), or values, (rows, 1).

        Numbers are cast to the type that the model reads: float64 beside float32 inputs is rounded
        to the nearest. Missing numbers become NaN.

        Raises:
            ModelRefused: A finite number overflows the model's type, a value is missing where the
                model reads strings, integers or bools, or the model itself refuses the rows.
            BatchinfError: A feature column does not fit its declaration.
        """
        if features.num_rows == 0:
            return np.empty((0, self.classes), dtype=np.float64)
        feed = {given.name: _tensor(features, given, self.columns) for given in self.inputs}
        starts = range(0, features.num_rows, self.block_rows)
        if self.threads == 1 or len(starts) == 1:
            blocks = [self._block(feed, start) for start in starts]
        else:
            with ThreadPoolExecutor(self.threads) as pool:
                blocks = list(pool.map(partial(self._block, feed), starts))
        return np.concatenate(blocks)[: features.num_rows]

    def for_workers(self) -> Scorer | None:
        """Return None: ONNX Runtime has threads of its own."""
        return None

    def _block(self, feed: Mapping[str, npt.NDArray[Any]], start: int) -> npt.NDArray[np.float64]:
        block = {name: _cut(values, start, self.block_rows) for name, values in feed.items()}
        try:
            given = self.session.run([self.output], block)[0]
        except _failures() as error:
            raise ModelRefused(
                f"The model refuses rows {start} to {start + self.block_rows - 1}: "
                f"{_first_line(error)}.",
                reason=Refusal.ROWS,
                next_step="Declare what the model can read, or train it on rows like these.",
            ) from error
        if given.ndim != 2 or len(given) != self.block_rows:
            raise _unfit(
                f"gives '{self.output}' of shape {given.shape} for {self.block_rows} rows",
                "Export it with one output row per input row.",
            )
        return given.astype(np.float64)


def load_onnx(data: bytes, columns: Mapping[str, FeatureSpec], *, threads: int = 1) -> OnnxScorer:
    """Build a session out of the bytes of an inspected model.

    The model reads either one tensor (rows, features) in declared order, or one tensor (rows, 1) or
    (rows,) per declared feature, named like it. It gives one float tensor (rows, classes) or
    (rows, 1); labels beside it are ignored.

    Args:
        data: The model; no external data.
        columns: The declared features, in the model's order.
        threads: Blocks to score at once.

    Raises:
        UsageError: ONNX Runtime is not installed.
        ModelRefused: ONNX Runtime cannot read the bytes, or inputs or outputs do not fit.
    """
    runtime = _onnxruntime()
    try:
        session = runtime.InferenceSession(
            data, sess_options=_options(runtime), providers=["CPUExecutionProvider"]
        )
    except _failures() as error:
        raise ModelRefused(
            f"ONNX Runtime {runtime.__version__} cannot read the model: {_first_line(error)}.",
            reason=Refusal.UNREADABLE,
            next_step="Check it with `onnx.checker.check_model`, then export it again.",
        ) from error
    output = _fitting_output(session.get_outputs())
    return OnnxScorer(
        session=session,
        columns=columns,
        inputs=_fitting_inputs(session.get_inputs(), columns),
        output=output.name,
        classes=output.shape[1] if isinstance(output.shape[1], int) else 0,
        block_rows=_block_rows(session.get_inputs()),
        threads=threads,
        name=f"onnxruntime {runtime.__version__}",
    )


def _onnxruntime() -> Any:
    # Read while ONNX Runtime is imported: since 1.29 it reports to its vendor unless told not to.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        raise UsageError(
            "The model is registered as ONNX, and the package onnxruntime is not installed.",
            next_step='Install it: `pip install "batchinf-assets[onnx]"`.',
        ) from error
    onnxruntime.disable_telemetry_events()
    onnxruntime.set_default_logger_severity(3)  # the errors; it warns of each device it lacks
    return onnxruntime


def _failures() -> tuple[type[Exception], ...]:
    state = import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    # They have no class in common below Exception.
    names = (
        "Fail",
        "InvalidArgument",
        "InvalidGraph",
        "InvalidProtobuf",
        "NoModel",
        "NoSuchFile",
        "NotImplemented",
        "RuntimeException",
    )
    return tuple(getattr(state, name) for name in names)


def _options(runtime: Any) -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
    # Beyond the basic level, what is fused depends on the processor.
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.use_deterministic_compute = True
    options.log_severity_level = 3
    # Out of a folder that cannot be: ONNX Runtime would look for external data where we stand.
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", os.devnull
    )
    return options


def _fitting_inputs(
    declared: Sequence[Any], columns: Mapping[str, FeatureSpec]
) -> tuple[ModelInput, ...]:
    names = [given.name for given in declared]
    if {*names} == {*columns}:
        return tuple(_fitting_input(given, (given.name,), columns) for given in declared)
    if len(names) == 1:
        return (_fitting_input(declared[0], tuple(columns), columns),)
    missing = [repr(name) for name in columns if name not in names]
    extra = [repr(name) for name in names if name not in columns]
    raise _unfit(
        "has other inputs than the declared features: "
        f"missing {', '.join(missing) or 'none'}; extra {', '.join(extra) or 'none'}",
        "Export it with one input (rows, features), or with one input per feature, named like it.",
    )


def _fitting_input(
    given: Any, features: tuple[str, ...], columns: Mapping[str, FeatureSpec]
) -> ModelInput:
    readable = _READABLE.get(given.type, frozenset[ColumnType]())
    for feature in features:
        if columns[feature].type not in readable:
            raise _unfit(
                f"reads '{given.name}' as {given.type}, and feature '{feature}' is declared "
                f"{columns[feature].type}",
                "Correct features.columns in defs.yaml, or export with inputs of that type.",
            )
    flat = len(given.shape) == 1 and len(features) == 1
    width = given.shape[1] if len(given.shape) == 2 else None
    wide = len(given.shape) == 2 and (width == len(features) or not isinstance(width, int))
    if not (flat or wide):
        raise _unfit(
            f"reads '{given.name}' in shape {given.shape}, where the declared features make "
            f"(rows, {len(features)})",
            "Correct features.columns in defs.yaml, or train on the declared features.",
        )
    return ModelInput(name=given.name, type=given.type, features=features, flat=flat)


def _fitting_output(declared: Sequence[Any]) -> Any:
    tensors = [given for given in declared if given.type in _FLOATING and len(given.shape) == 2]
    if len(tensors) == 1:
        return tensors[0]
    if not tensors and any(output.type.startswith("seq(map(") for output in declared):
        raise _unfit(
            "gives its probabilities as a list of dictionaries (ZipMap)",
            'Export it with skl2onnx and `options={"zipmap": False}`.',
        )
    found = ", ".join(f"'{output.name}' {output.type} {output.shape}" for output in declared)
    raise _unfit(
        f"gives {len(tensors)} float tensors of two dimensions among its outputs: {found}",
        "Export it with one: (rows, classes) of a classifier, (rows, 1) of a regressor.",
    )


def _block_rows(declared: Sequence[Any]) -> int:
    fixed = {given.shape[0] for given in declared if isinstance(given.shape[0], int)}
    if len(fixed) > 1 or any(rows < 1 for rows in fixed):
        raise _unfit(
            f"reads {' and '.join(map(str, sorted(fixed)))} rows at once",
            "Export it with a row count that is left open.",
        )
    return fixed.pop() if fixed else BLOCK_ROWS


def _tensor(
    table: pa.Table, given: ModelInput, columns: Mapping[str, FeatureSpec]
) -> npt.NDArray[Any]:
    found = [_values(table, name, columns[name], given.type) for name in given.features]
    return found[0] if given.flat else np.column_stack(found)


def _values(table: pa.Table, name: str, spec: FeatureSpec, type_: str) -> npt.NDArray[Any]:
    column = feature_column(table, name, spec)
    if type_ in _FLOATING:
        numbers = column.to_numpy() if pa.types.is_floating(column.type) else _as_float64(column)
        return _narrowed(numbers, name) if type_ == "tensor(float)" else numbers.astype(np.float64)
    if column.null_count:
        raise ModelRefused(
            f"Feature '{name}' has {column.null_count} missing values, and the model reads it as "
            f"{type_}, which has none.",
            reason=Refusal.ROWS,
            next_step="Fill it in the feature SQL as it was filled in training.",
        )
    return column.to_numpy().astype(_DTYPES[type_])


def _as_float64(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    return column.cast(pa.float64(), safe=False).to_numpy()


def _narrowed(numbers: npt.NDArray[Any], name: str) -> npt.NDArray[np.float32]:
    with np.errstate(over="ignore"):
        narrow = numbers.astype(np.float32)
    overflow = np.flatnonzero(np.isinf(narrow) & np.isfinite(numbers))
    if len(overflow):
        raise ModelRefused(
            f"Feature '{name}' is {numbers[overflow[0]]:g} in row {overflow[0]}: beyond float32, "
            "which the model reads.",
            reason=Refusal.ROWS,
            next_step="Bound it in features.columns, or export the model with double inputs.",
        )
    return narrow


def _cut(values: npt.NDArray[Any], start: int, rows: int) -> npt.NDArray[Any]:
    piece = values[start : start + rows]
    if len(piece) == rows:
        return piece
    return np.concatenate([piece, np.repeat(piece[-1:], rows - len(piece), axis=0)])


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].strip().rstrip(".")[:300]


def _unfit(problem: str, next_step: str) -> ModelRefused:
    return ModelRefused(f"The ONNX model {problem}.", reason=Refusal.SCHEMA, next_step=next_step)
