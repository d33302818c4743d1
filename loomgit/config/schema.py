"""Generate JSON Schemas of project files from their models, so that editors can check the files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from loomgit.config.app_dependencies import DependenciesModel
from loomgit.config.app_model import AppModel
from loomgit.config.file_model import build_model
from loomgit.config.pipeline_model import PipelineModel
from loomgit.config.settings_model import SettingsModel
from loomgit.config.tests_model import SuiteModel

if TYPE_CHECKING:
    from loomgit.config.file_model import FileModel
    from loomgit.domain.values import JsonObject

Kind = Literal["pipeline", "test", "config", "app", "dependencies"]
KINDS: tuple[Kind, ...] = get_args(Kind)
DRAFT = "https://json-schema.org/draft/2020-12/schema"
MODELS: dict[Kind, type[FileModel]] = {
    "pipeline": PipelineModel,
    "test": SuiteModel,
    "config": SettingsModel,
    "app": AppModel,
    "dependencies": DependenciesModel,
}


def json_schema(kind: Kind) -> JsonObject:
    """Return the JSON Schema (draft 2020-12) for one type of file, including all short forms.

    The schema does not contain most of the rules that involve several keys. Only Loom checks these
    rules, for example that a transform of type `ai` needs a prompt, and that names are unique.
    """
    return {"$schema": DRAFT, **build_model(MODELS[kind]).model_json_schema(by_alias=True)}
