import orjson
import pytest

from loomgit.history import schema
from loomgit.history.schema import DamagedRun, NewerRun
from tests.runs import make_run

DOCUMENT = schema.as_object(make_run())


def text(**changes) -> bytes:
    return orjson.dumps({**DOCUMENT, **changes})


def rename(document):
    """Format 1 called the pipeline `flow`."""
    rest = {key: value for key, value in document.items() if key != "flow"}
    return {**rest, "pipeline": document["flow"]}


def shout(document):
    """Format 2 wrote it small."""
    return {**document, "pipeline": document["pipeline"].upper()}


STEPS = {1: rename, 2: shout}


def test_older_formats_are_lifted_step_by_step():
    first = orjson.loads(text(flow="old"))
    del first["pipeline"]
    run = schema.from_json(orjson.dumps(first), migrations=STEPS, current=3)
    assert (run.pipeline, run.schema_version) == ("OLD", 3)
    second = schema.from_json(text(schema_version=2), migrations=STEPS, current=3)
    assert (second.pipeline, second.schema_version) == ("DEMO", 3)
    third = schema.from_json(text(schema_version=3), migrations=STEPS, current=3)
    assert third.pipeline == "demo"


def test_a_file_that_does_not_fit_its_migration_is_damaged():
    with pytest.raises(DamagedRun, match="flow"):
        schema.from_json(text(), migrations=STEPS, current=3)
    with pytest.raises(DamagedRun):
        schema.from_json(text(pipeline=7, schema_version=2), migrations=STEPS, current=3)


def test_a_later_format_is_not_guessed_at():
    with pytest.raises(
        NewerRun, match="its format is 4, this version of Loom reads formats up to 3"
    ):
        schema.from_json(text(schema_version=4), migrations=STEPS, current=3)


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"null",
        b"[1]",
        b"\xff",
        b'{"schema_version": 1}',
        text(schema_version=0),
        text(schema_version=True),
        text(schema_version="1"),
        text(cases=[7]),
        text(cases={"a": 1}),
        text(cases=None),
        text(commit="abc"),
        text(results={"status": "who knows"}),
    ],
)
def test_whatever_else_stands_there_is_damaged(broken):
    with pytest.raises(DamagedRun):
        schema.from_json(broken)
