"""Parse the front matter of a prompt file: the metadata between two `---` lines."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from loomgit.config.file_model import FileModel, problems_error, validate
from loomgit.config.output_schema import OutputSchema, object_schema
from loomgit.config.scalars import NonBlankText, Text  # noqa: TC001 - pydantic reads them
from loomgit.config.yaml_text import parse_yaml
from loomgit.domain.definitions import FrontMatter


class FrontMatterModel(FileModel):
    """Metadata of a prompt; Loom does not send it to the model"""

    model_config = ConfigDict(title="Front matter of a Loom prompt")

    id: NonBlankText | None = Field(
        default=None, description="Identifies the prompt after its file is renamed"
    )
    description: Text | None = None
    model: NonBlankText | None = Field(
        default=None, description="The model that the prompt is written for"
    )
    output: OutputSchema | None = Field(default=None, description="JSON Schema or `field: type`")


def parse_front_matter(text: str, path: str, *, first_line: int = 2) -> FrontMatter:
    """Parse the YAML between the `---` lines of the prompt at `path`.

    `text` is this YAML, which begins on line `first_line` of the file. If `text` is empty, return
    an empty FrontMatter. Raises ProblemsFound with all problems.
    """
    # Prepend blank lines, so that problems have the line numbers of the prompt file.
    document = parse_yaml("\n" * (first_line - 1) + text, path, may_be_empty=True)
    model = validate(FrontMatterModel, document)
    if isinstance(model, list):
        raise problems_error([*document.problems, *model])
    if document.problems:
        raise problems_error(document.problems)
    output = None if model.output is None else object_schema(model.output)
    return FrontMatter(model.id, model.description, model.model, output)
