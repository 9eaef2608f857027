"""A drafted pipeline, tried and put in its place: all of its folder or nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from batchinf_assets.checks import quoted as shown
from batchinf_assets.contracts.sound_rules import require_sound_rules
from batchinf_assets.errors import UsageError
from batchinf_assets.features.labels import label_rows, require_outcomes
from batchinf_assets.features.lineage import column_lineage
from batchinf_assets.lake.entries import exists
from batchinf_assets.lake.schema import arrow_schema
from batchinf_assets.spec.contract import Name
from batchinf_assets.spec.load import Pipeline, load_pipeline


def write_pipeline(name: str, texts: Mapping[str, str], defs: Path) -> Pipeline:
    """Write the folder of a pipeline that loads.

    Args:
        name: The pipeline's.
        texts: Its files, by name.
        defs: Where pipelines are declared.

    Raises:
        UsageError: The name is none, or there is such a folder already.
        InvalidSpec: The declaration does not fit the spec.
        FeatureSqlFailed: DuckDB refuses the label.
        OSError: The folder cannot be written.
    """
    require_new(name, defs)
    # Beside the declarations: whoever loads them meanwhile finds all of the new one or none.
    with tempfile.TemporaryDirectory(dir=defs.parent, prefix=".scaffold-") as folder:
        drafted = Path(folder) / name
        drafted.mkdir()
        for file, text in texts.items():
            (drafted / file).write_text(text, encoding="utf-8")
        require_sound(load_pipeline(name, Path(folder)))
        drafted.rename(defs / name)
    return load_pipeline(name, defs)


def require_new(name: str, defs: Path) -> None:
    """Require that a name is one, and that nothing is declared under it.

    Raises:
        UsageError: It is none, or there is such a folder already.
    """
    try:
        TypeAdapter[str](Name).validate_python(name)
    except ValidationError:
        raise UsageError(
            f"{shown(name)} is no name of a pipeline.",
            next_step="Choose lower-case letters, digits and _, at most 63, a letter first.",
        ) from None
    if exists(defs / name):
        raise UsageError(
            f"There is a folder {name} among the pipelines already.",
            next_step="Choose another name, or correct what is there.",
        )


def require_sound(pipeline: Pipeline) -> None:
    """Require that rules, label and feature SQL of a pipeline can be judged.

    Raises:
        InvalidSpec: A rule is none.
        FeatureSqlFailed: DuckDB refuses a rule, the label or the feature SQL.
    """
    require_sound_rules(pipeline.spec)
    columns = arrow_schema(require_outcomes(pipeline.spec).columns)
    label_rows(pipeline.spec, columns.empty_table())
    column_lineage(pipeline)
