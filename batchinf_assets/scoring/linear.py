"""Linear models as plain arrays; each row's sum runs over the columns in one fixed order.

A matrix product by BLAS groups its sums by how many rows there are; here the score of a row depends
on that row alone. How features become the matrix is in `scoring.encoding`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError

from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.lake.digest import canonical_json
from batchinf_assets.scoring.untranslatable import Untranslatable

Link = Literal["identity", "logistic", "one_vs_rest", "softmax"]
Floats = npt.NDArray[np.float64]
Finite = Annotated[float, Field(allow_inf_nan=False, strict=True)]

BLOCK_ROWS = 8192
"""Rows whose sums stay in the cache while the columns pass."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearModel:
    """A fitted linear model.

    Attributes:
        coefficients: Weights, shape (outputs, columns), finite.
        intercept: What is added to each output's sum, shape (outputs,), finite.
        link: From sums to answers: as they are; the logistic function of the one sum, for the
            second of two classes; that of each sum, divided by their total; or the softmax.
        classifier: Whether the answers are probabilities of classes.
    """

    coefficients: Floats
    intercept: Floats
    link: Link
    classifier: bool

    def __post_init__(self) -> None:
        outputs = len(self.intercept)
        if self.coefficients.ndim != 2 or self.coefficients.shape[0] != outputs or not outputs:
            raise ValueError(
                f"coefficients of shape {self.coefficients.shape} do not fit {outputs} intercepts"
            )
        if not (np.isfinite(self.coefficients).all() and np.isfinite(self.intercept).all()):
            raise ValueError("a coefficient or intercept is not finite")
        if self.classifier == (self.link == "identity"):
            raise ValueError(f"link {self.link} does not fit classifier={self.classifier}")
        if (outputs == 1) != (self.link in ("identity", "logistic")):
            raise ValueError(f"link {self.link} does not fit {outputs} outputs")

    def to_json(self) -> str:
        """Write canonical JSON; floats read back exactly."""
        document = _Document(
            coefficients=tuple(tuple(row) for row in self.coefficients.tolist()),
            intercept=tuple(self.intercept.tolist()),
            link=self.link,
            classifier=self.classifier,
        )
        return canonical_json(document.model_dump()).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> LinearModel:
        """Read what `to_json` wrote.

        Raises:
            ModelRefused: The text is no linear model, or its parts contradict each other.
        """
        try:
            document = _Document.model_validate_json(text)
            return cls(
                coefficients=_floats(document.coefficients),
                intercept=_floats(document.intercept),
                link=document.link,
                classifier=document.classifier,
            )
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(str(part) for part in problem["loc"]) or "document"
            raise _invalid(f"at {where}: {problem['msg']}") from error
        except ValueError as error:
            raise _invalid(f": {error}") from error


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    coefficients: tuple[tuple[Finite, ...], ...]
    intercept: tuple[Finite, ...]
    link: Link
    classifier: StrictBool


def translate_linear(estimator: Any) -> LinearModel:
    """Take the weights of a fitted scikit-learn model.

    Raises:
        Untranslatable: It is of another class, gives no probability, has several targets, computes
            in float32, or has a weight that is not finite.
    """
    link = _link(estimator)
    coefficients = np.asarray(estimator.coef_)
    if coefficients.dtype != np.float64:
        raise Untranslatable(f"{type(estimator).__name__} computes in {coefficients.dtype}")
    matrix = np.ascontiguousarray(np.atleast_2d(coefficients))
    intercept = np.asarray(estimator.intercept_, dtype=np.float64)
    try:
        return LinearModel(
            coefficients=matrix,
            intercept=np.broadcast_to(intercept.ravel(), len(matrix)).copy(),
            link=link,
            classifier=link != "identity",
        )
    except ValueError as error:
        raise Untranslatable(f"{type(estimator).__name__}: {error}") from error


def predict_linear(model: LinearModel, matrix: npt.NDArray[Any]) -> Floats:
    """Compute the model's answers.

    Args:
        model: The model.
        matrix: float32 or float64, shape (columns, rows).

    Returns:
        Probabilities, shape (rows, classes), or a regression's values, shape (rows, 1).

    Raises:
        ModelRefused: A value is NaN or infinite, or the matrix has other columns than the model.
    """
    require_columns(model, len(matrix))
    for column, values in enumerate(matrix):
        require_finite(values, f"matrix column {column}")
    with np.errstate(all="ignore"):  # overflow to infinity, as in scikit-learn
        return answers(model, _sums(model, matrix))


def require_columns(model: LinearModel, found: int) -> None:
    """Check that there are as many columns as weights.

    Raises:
        ModelRefused: There are not.
    """
    expected = model.coefficients.shape[1]
    if found != expected:
        raise ModelRefused(
            f"The linear model reads {expected} matrix columns; there are {found}.",
            reason=Refusal.SCHEMA,
            next_step="Register the model again: batchinf model register.",
        )


def _sums(model: LinearModel, matrix: npt.NDArray[Any]) -> Floats:
    """Return the outputs' sums, shape (outputs, rows)."""
    sums = np.zeros((len(model.intercept), matrix.shape[1]))
    product = np.empty(BLOCK_ROWS)
    for start in range(0, matrix.shape[1], BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        for total, weights in zip(sums[:, rows], model.coefficients, strict=True):
            add_products(total, matrix[:, rows], weights, product[: len(total)])
    return sums


def add_products(total: Floats, block: npt.NDArray[Any], weights: Floats, product: Floats) -> None:
    """Add weighted columns, shape (columns, rows), in order; `product` is overwritten."""
    for values, weight in zip(block, weights, strict=True):
        total += np.multiply(values, weight, out=product)


def require_finite(values: npt.NDArray[Any], name: str) -> None:
    """Refuse what scikit-learn's linear models refuse.

    Raises:
        ModelRefused: A value is NaN or infinite.
    """
    broken = ~np.isfinite(values)
    if broken.any():
        raise ModelRefused(
            f"The model refuses the rows: {name} holds {values[int(np.argmax(broken))]}, where a "
            "linear model reads finite numbers.",
            reason=Refusal.ROWS,
            next_step="Impute or bound that feature in the model's pipeline or its SQL.",
        )


def _identity(sums: Floats) -> Floats:
    return np.ascontiguousarray(sums.T)


def _sigmoid(sums: Floats) -> Floats:
    from scipy.special import expit  # takes 0.2 s

    return np.asarray(expit(sums), dtype=np.float64)


def _logistic(sums: Floats) -> Floats:
    positive = _sigmoid(sums[0])
    return np.column_stack([1 - positive, positive])


def _one_vs_rest(sums: Floats) -> Floats:
    odds = _sigmoid(sums)
    total = _total(odds)
    # As scikit-learn: where every class is given up, all are as likely.
    odds[:, total == 0] = 1
    total[total == 0] = len(odds)
    return np.ascontiguousarray((odds / total).T)


def _softmax(sums: Floats) -> Floats:
    weights = np.exp(sums - sums.max(axis=0))
    return np.ascontiguousarray((weights / _total(weights)).T)


def _total(parts: Floats) -> Floats:
    """Add the outputs one after the other; numpy's own order depends on the shape."""
    total = np.zeros(parts.shape[1])
    for part in parts:
        total += part
    return total


def answers(model: LinearModel, sums: Floats) -> Floats:
    """Make the model's answers of its weighted sums, shape (outputs, rows), intercept not added."""
    return _LINKS[model.link](sums + model.intercept[:, np.newaxis])


_LINKS = {
    "identity": _identity,
    "logistic": _logistic,
    "one_vs_rest": _one_vs_rest,
    "softmax": _softmax,
}


def _link(estimator: Any) -> Link:
    from sklearn import linear_model as sklearn

    kind, name = type(estimator), type(estimator).__name__
    binary = len(getattr(estimator, "classes_", ())) == 2
    if kind in (sklearn.LogisticRegression, sklearn.LogisticRegressionCV):
        return "logistic" if binary else "softmax"
    if kind is sklearn.SGDClassifier and estimator.loss == "log_loss":
        return "logistic" if binary else "one_vs_rest"
    regressors = ("ElasticNet", "Lasso", "LinearRegression", "Ridge", "SGDRegressor")
    searched = ("ElasticNetCV", "LassoCV", "RidgeCV")
    if kind in [getattr(sklearn, known) for known in (*regressors, *searched)]:
        return "identity"
    if kind is sklearn.SGDClassifier:
        raise Untranslatable(f"{name} with loss '{estimator.loss}' has no fast form")
    raise Untranslatable(f"{name} is no linear model that has a fast form")


def _floats(numbers: Any) -> Floats:
    return np.array(numbers, dtype=np.float64)


def _invalid(problem: str) -> ModelRefused:
    return ModelRefused(
        f"The linear model's document is invalid {problem.lstrip(': ')}.",
        reason=Refusal.UNREADABLE,
        next_step="Register the model again: batchinf model register.",
    )
