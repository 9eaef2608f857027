"""A pipeline: its `defs.yaml`, read, and the files that stand beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from pydantic import (
    ValidationError,
)

from batchinf_assets.errors import InvalidSpec, UnknownPipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.spec.problems import problems


@dataclass(frozen=True)
class Pipeline:
    """A spec together with the folder that holds its SQL and training code."""

    spec: PipelineSpec
    folder: Path

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self.spec.name

    @cached_property
    def features_sql(self) -> str:
        """The text of the feature SQL."""
        return self._text(self.spec.features.sql)

    @cached_property
    def postprocess_sql(self) -> str | None:
        """The text of the post-processing SQL, if there is any."""
        return self._text(self.spec.postprocess.sql) if self.spec.postprocess else None

    @property
    def training_script(self) -> Path:
        """The file that defines `train(features, labels)`."""
        return self._file(self.spec.model.training.script)

    def _text(self, name: str) -> str:
        try:
            return self._file(name).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise InvalidSpec(
                f"{self.folder.name}/{name} is not UTF-8 text (byte {error.start}).",
                next_step="Save it as UTF-8.",
            ) from error

    def _file(self, name: str) -> Path:
        path = self.folder / name
        if not path.is_file():
            raise InvalidSpec(
                f"Pipeline {self.name} names {name}, but {self.folder.name}/ has no such file.",
                next_step=f"Add {name} beside defs.yaml or correct the name there.",
            )
        return path


DEFS_FOLDER = Path(__file__).parent.parent / "defs"


def load_pipeline(name: str, defs: Path = DEFS_FOLDER) -> Pipeline:
    """Read one pipeline's declaration.

    Raises:
        UnknownPipeline: No folder under `defs` declares it.
        InvalidSpec: Its `defs.yaml` is no YAML or does not fit the spec.
    """
    known = pipeline_names(defs)
    if name not in known:
        raise UnknownPipeline(
            f"There is no pipeline '{name[:64]}'.",
            next_step=f"Known: {', '.join(known) or 'none yet'}.",
        )
    return Pipeline(spec=_read_spec(defs / name / "defs.yaml"), folder=defs / name)


def pipeline_names(defs: Path = DEFS_FOLDER) -> list[str]:
    """List the folders under `defs` that hold a `defs.yaml`."""
    return sorted(path.parent.name for path in defs.glob("*/defs.yaml") if path.is_file())


COMPONENT = "batchinf_assets.orchestration.component.BatchPipeline"


class _NamesOnce(yaml.SafeLoader):
    """Refuses a name that stands twice in a mapping; plain YAML lets the last one win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - the parent's signature
        names = [key.value for key, _ in node.value]
        for key, _ in node.value:
            if names.count(key.value) > 1:
                raise yaml.MarkedYAMLError(
                    problem=f"'{key.value}' stands twice", problem_mark=key.start_mark
                )
        return super().construct_mapping(node, deep)


def _read_spec(path: Path) -> PipelineSpec:
    try:
        text = path.read_text(encoding="utf-8")
        document: Mapping[str, Any] = yaml.load(text, _NamesOnce)  # noqa: S506 - a SafeLoader
        if not isinstance(document, dict) or "attributes" not in document:
            raise InvalidSpec(
                f"{path.parent.name}/defs.yaml is not a component file.",
                next_step=f"Begin it with `type: {COMPONENT}`, and put all that is declared below "
                "`attributes:`, indented by two.",
            )
        spec = PipelineSpec.model_validate(document["attributes"])
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InvalidSpec(
            f"{path.parent.name}/defs.yaml is no YAML{where}: {_one_line(error.problem or '')}.",
            next_step="Correct that line, or the indentation above it.",
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidSpec(
            f"{path.parent.name}/defs.yaml is not a component file: {_one_line(str(error))}.",
            next_step="Run `make check` to see the line.",
        ) from error
    except ValidationError as error:
        raise InvalidSpec(
            f"{path.parent.name}/defs.yaml: {'; '.join(problems(error, PipelineSpec))}.",
            next_step="Run `make check` to see the line.",
        ) from error
    if spec.name != path.parent.name:
        raise InvalidSpec(
            f"{path.parent.name}/defs.yaml declares the name '{spec.name}'.",
            next_step="Give the folder and the pipeline the same name.",
        )
    return spec


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().rstrip(".")
