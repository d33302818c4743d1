"""One file of every format ever released; each is read for ever."""

from pathlib import Path

import orjson
import pytest

from loomgit.domain.runs import SCHEMA_VERSION
from loomgit.history import schema

FILES = sorted(Path(__file__).parent.glob("run-*.json"))


def test_every_format_has_its_file():
    assert [path.name for path in FILES] == [f"run-{n}.json" for n in range(1, SCHEMA_VERSION + 1)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_of_every_format_is_read_as_a_run_of_the_newest(path):
    document = orjson.loads(path.read_bytes())
    assert document["schema_version"] == int(path.stem.removeprefix("run-"))
    run = schema.from_json(path.read_bytes())
    assert run.schema_version == SCHEMA_VERSION
    assert (run.pipeline, run.commit.author, run.results.records_validated) == ("demo", "Ada", 4)
    assert schema.from_json(schema.to_json(run)) == run


def test_the_newest_format_keeps_every_field_and_its_name():
    document = orjson.loads(FILES[-1].read_bytes())
    written = schema.as_object(schema.from_json(FILES[-1].read_bytes()))
    assert without_what_was_added(written, document) == document


def without_what_was_added(new, old):
    """Adding a field makes no new format; renaming, moving or losing one does."""
    if isinstance(new, dict) and isinstance(old, dict):
        return {key: without_what_was_added(new[key], old[key]) for key in old if key in new}
    return new
