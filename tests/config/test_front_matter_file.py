"""Front matter of prompts."""

import pytest

from loomgit.config.front_matter import parse_front_matter
from loomgit.domain.definitions import FrontMatter
from loomgit.errors import ProblemsFound


def test_every_key_arrives():
    text = "id: classify\ndescription: Sorts\nmodel: gpt-4o\noutput: {label: string}\n"
    assert parse_front_matter(text, "prompts/p.txt") == FrontMatter(
        "classify",
        "Sorts",
        "gpt-4o",
        {"type": "object", "properties": {"label": {"type": "string"}}, "required": ["label"]},
    )


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n"])
def test_front_matter_may_be_empty(text):
    assert parse_front_matter(text, "prompts/p.txt") == FrontMatter()


def test_faults_stand_where_they_do_in_the_whole_prompt():
    with pytest.raises(ProblemsFound) as caught:
        parse_front_matter("id: classify\nmodle: gpt-4o\n", "prompts/p.txt")
    assert str(caught.value) == (
        "prompts/p.txt:3:1: modle: unknown key\nhint: did you mean 'model'?"
    )
