import math
import struct

import pytest
from pydantic import TypeAdapter, ValidationError

from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.scoring.encoding.recipe import (
    Arithmetic,
    Cast,
    Clip,
    Finite,
    Impute,
    ImputeText,
    Known,
    MatrixColumn,
    Number,
    OneHot,
    Ordinal,
    Recipe,
)

EVERY_STEP = (
    ImputeText(value="nan"),
    Known(categories=("b", "a", ""), missing=True),
    Ordinal(categories=("b", "a", 'é\0"'), missing=None, unknown=math.nan),
    Ordinal(categories=(-(2**63), 0, 2**63 - 1), missing=-1.0, unknown=None),
    Ordinal(categories=(-0.5, 5e-324, 0.1), missing=math.nan, unknown=-2.0),
    OneHot(category="inf"),
    OneHot(category=2**53 + 1),
    OneHot(category=1.0),
    OneHot(category=None),
    Impute(value=math.inf),
    Finite(),
    Cast(to="float32"),
    Arithmetic(kind="subtract", value=0.1 + 0.2),
    Clip(low=-math.inf, high=-0.0),
)
RECIPE = Recipe(
    columns=tuple(MatrixColumn(feature="x", steps=(step,)) for step in EVERY_STEP),
    precision="float64",
    refusals=(MatrixColumn(feature="y", steps=(Finite(),)),),
)


def test_every_step_reads_back_as_it_was_written():
    read = Recipe.from_json(RECIPE.to_json())
    assert read == RECIPE
    assert read.to_json() == RECIPE.to_json()
    kinds = [
        type(step.category)
        for column in read.columns
        for step in column.steps
        if isinstance(step, OneHot)
    ]
    assert kinds == [str, int, float, type(None)]


@pytest.mark.parametrize(
    "value", [0.1, -0.0, 5e-324, 1.7976931348623157e308, 1 / 3, 2.0**53, math.inf, -math.inf]
)
def test_floats_read_back_bit_for_bit(value):
    recipe = Recipe(
        columns=(MatrixColumn(feature="x", steps=(Impute(value=value),)),), precision="float64"
    )
    read = Recipe.from_json(recipe.to_json()).columns[0].steps[0].value
    assert struct.pack("d", read) == struct.pack("d", value)


def test_nan_equals_itself_and_reads_back():
    first, second = (Impute(value=float("nan")) for _ in range(2))
    assert first == second
    assert math.isnan(TypeAdapter(Number).validate_json('"nan"'))


@pytest.mark.parametrize(
    ("changed", "place"),
    [
        ('{"columns":[],"precision":"float16","refusals":[],"version":1}', "precision"),
        ('{"columns":[],"precision":"float32","refusals":[],"version":2}', "version"),
        ('{"columns":[],"precision":"float32","more":1}', "more"),
        (
            '{"columns":[{"feature":"x","steps":[{"kind":"exec"}]}],"precision":"float32"}',
            "steps.0",
        ),
        (
            '{"columns":[{"feature":"x","steps":[{"kind":"add","value":"one"}]}],'
            '"precision":"float32"}',
            "add.value",
        ),
        ("[]", "document"),
        ("{", "document"),
    ],
)
def test_what_is_no_recipe_is_refused(changed, place):
    with pytest.raises(ModelRefused, match=f"invalid at .*{place}") as refused:
        Recipe.from_json(changed)
    assert refused.value.reason is Refusal.UNREADABLE


@pytest.mark.parametrize(
    "categories", [("a", "a"), (2, 1), (0.5, 0.5), (math.nan,), (math.inf,), ("a", 1), (True,)]
)
def test_categories_are_distinct_and_of_one_kind(categories):
    with pytest.raises(ValidationError):
        Known(categories=categories, missing=False)
