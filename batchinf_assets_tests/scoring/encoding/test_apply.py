import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from batchinf_assets.errors import BatchinfError, ModelRefused, Refusal
from batchinf_assets.scoring.encoding.apply import encode
from batchinf_assets.scoring.encoding.recipe import (
    Arithmetic,
    Cast,
    Finite,
    MatrixColumn,
    Ordinal,
    Recipe,
)
from batchinf_assets.spec.contract import FeatureSpec

CODES = Ordinal(categories=("a", "b"), missing=None, unknown=-1.0)
COLUMNS = {"word": FeatureSpec(type="string"), "number": FeatureSpec(type="float64")}
TABLE = pa.table({"word": ["b", "c", "a"], "number": [0.1, np.nan, 1e300]})


def recipe(*columns, precision="float64"):
    return Recipe(
        columns=tuple(MatrixColumn(feature=name, steps=steps) for name, *steps in columns),
        precision=precision,
    )


def test_rows_of_the_matrix_are_columns_of_the_recipe():
    made = encode(recipe(("number",), ("word", CODES), ("number", Finite())), TABLE, COLUMNS)
    assert made.shape == (3, 3)
    assert made[1].tolist() == [1, -1, 0]
    assert np.array_equal(made[0], made[2], equal_nan=True)


def test_arithmetic_has_the_precision_of_the_last_cast():
    third = Arithmetic(kind="divide", value=3.0)
    steps = (Cast(to="float32"), third, Cast(to="float64"))
    made = encode(recipe(("number", *steps), ("number", third)), TABLE, COLUMNS)
    assert made[0, 0] == np.float64(np.float32(0.1) / np.float32(3))
    assert made[1, 0] == 0.1 / 3 != made[0, 0]


def test_overflow_gives_infinity_without_a_warning():
    made = encode(
        recipe(("number", Arithmetic(kind="multiply", value=1e300)), precision="float32"),
        TABLE,
        COLUMNS,
    )
    assert made[0, 2] == np.inf


def test_undeclared_table_columns_do_not_matter():
    wider = TABLE.append_column("more", pa.array(["x", "y", "z"]))
    plan = recipe(("word", CODES))
    assert np.array_equal(encode(plan, wider, COLUMNS), encode(plan, TABLE, COLUMNS))


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (TABLE.drop_columns(["word"]), "'word' is missing"),
        (TABLE.set_column(1, "number", pa.array([1, 2, 3])), "'number' has type int64"),
        (TABLE.set_column(0, "word", pa.array(["a", None, "b"])), "'word' has 1 nulls"),
    ],
)
def test_columns_are_held_against_their_declaration(table, problem):
    with pytest.raises(BatchinfError, match=problem):
        encode(recipe(("number",)), table, COLUMNS)


@pytest.mark.parametrize(
    ("column", "problem"),
    [
        (("word",), "'word': string is out of place"),
        (("word", Finite()), "'word': finite is out of place"),
        (("more",), "feature 'more', which is not declared"),
    ],
)
def test_a_recipe_that_does_not_fit_the_columns_is_refused(column, problem):
    with pytest.raises(ModelRefused, match=problem) as refused:
        encode(recipe(column), TABLE, COLUMNS)
    assert refused.value.reason is Refusal.SCHEMA


def test_a_dictionary_may_hold_strings_that_no_row_has():
    refusing = Ordinal(categories=("a", "b"), missing=None, unknown=None)
    indices = pa.array([2, 0, None, 2], pa.int8())
    words = pa.DictionaryArray.from_arrays(indices, pa.array(["b", "never", "a"]))
    table = pa.table({"word": words, "number": [0.0] * 4})
    plan = recipe(("word", refusing))
    assert encode(plan, table.slice(0, 2), COLUMNS).tolist() == [[0, 1]]
    assert encode(plan, table.slice(3), COLUMNS).tolist() == [[0]]
    with pytest.raises(BatchinfError, match="'word' has 1 nulls"):
        encode(plan, table, COLUMNS)


def test_nulls_inside_a_dictionary_are_nulls():
    words = pa.DictionaryArray.from_arrays(pa.array([0, 1, None]), pa.array(["b", None]))
    table = pa.table({"word": words, "number": [0.0] * 3})
    with pytest.raises(BatchinfError, match="'word' has 2 nulls"):
        encode(recipe(("word", CODES)), table, COLUMNS)
    nullable = COLUMNS | {"word": FeatureSpec(type="string", nullable=True)}
    assert encode(recipe(("word", CODES)), table, nullable).tolist() == [[1, -1, -1]]


def test_a_full_small_dictionary_can_have_nulls():
    names = [str(number) for number in range(128)]
    indices = pa.array([127, None], pa.int8())
    words = pa.DictionaryArray.from_arrays(indices, pa.array(names))
    table = pa.table({"word": words, "number": [0.0] * 2})
    nullable = COLUMNS | {"word": FeatureSpec(type="string", nullable=True)}
    steps = Ordinal(categories=tuple(names), missing=-2.0, unknown=-1.0)
    assert encode(recipe(("word", steps)), table, nullable).tolist() == [[127, -2]]


def test_columns_without_chunks_give_no_rows():
    empty = pa.table(
        {name: pa.chunked_array([], TABLE.schema.field(name).type) for name in COLUMNS}
    )
    assert encode(recipe(("word", CODES), ("number",)), empty, COLUMNS).shape == (2, 0)


def test_neither_encoding_nor_linear_models_import_scikit_learn():
    script = (
        "import sys, batchinf_assets.scoring.encoding.apply;"
        "import batchinf_assets.scoring.encoding.translate, batchinf_assets.scoring.linear_encoded;"
        "print([name for name in sys.modules if name.split('.')[0] in ('sklearn', 'scipy')])"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
