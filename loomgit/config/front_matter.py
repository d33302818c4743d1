"""What a prompt says of itself between `---` lines -> `FrontMatter`."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from loomgit.config.output_schema import OutputSchema, object_schema
from loomgit.config.parts import Part, all_of, check
from loomgit.config.scalars import Text, Word  # noqa: TC001 - pydantic reads them
from loomgit.config.yamltext import parse_yaml
from loomgit.domain.definitions import FrontMatter


class FrontMatterModel(Part):
    """Metadata of a prompt; none of it is sent"""

    model_config = ConfigDict(title="Front matter of a Loom prompt")

    id: Word | None = Field(default=None, description="Follows the prompt when it is renamed")
    description: Text | None = None
    model: Word | None = Field(default=None, description="The model it was written for")
    output: OutputSchema | None = Field(default=None, description="JSON Schema or `field: type`")


def parse_front_matter(text: str, path: str, *, first_line: int = 2) -> FrontMatter:
    """Read the YAML between the marks, which begins on `first_line` of the prompt at `path`.

    Raises ProblemsFound with every fault; empty text is an empty FrontMatter.
    """
    # Blank lines in front put every place where it is in the whole file.
    document = parse_yaml("\n" * (first_line - 1) + text, path, may_be_empty=True)
    model = check(FrontMatterModel, document)
    if isinstance(model, list):
        raise all_of([*document.problems, *model])
    if document.problems:
        raise all_of(document.problems)
    output = None if model.output is None else object_schema(model.output)
    return FrontMatter(model.id, model.description, model.model, output)
