"""JSON Schema of the files, from the models that read them: editors check as one types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from loomgit.config.parts import ready
from loomgit.config.pipeline_model import PipelineModel
from loomgit.config.settings_model import SettingsModel
from loomgit.config.tests_model import SuiteModel

if TYPE_CHECKING:
    from loomgit.config.parts import Part
    from loomgit.domain.values import JsonObject

Kind = Literal["pipeline", "test", "config"]
KINDS: tuple[Kind, ...] = get_args(Kind)
DRAFT = "https://json-schema.org/draft/2020-12/schema"
MODELS: dict[Kind, type[Part]] = {
    "pipeline": PipelineModel,
    "test": SuiteModel,
    "config": SettingsModel,
}


def json_schema(kind: Kind) -> JsonObject:
    """The schema (draft 2020-12) of a kind of file, all short forms included.

    What lies between keys (a prompt for `ai`, names that are taken) only Loom itself checks.
    """
    return {"$schema": DRAFT, **ready(MODELS[kind]).model_json_schema(by_alias=True)}
