"""Errors as documents."""

import pytest

from loomgit.domain.place import Place, Problem
from loomgit.errors import ProblemsFound, UserError, WorldError


@pytest.mark.parametrize(
    ("message", "place"),
    [
        ("data/x.csv:3: 2 fields where the first line has 3", ("data/x.csv", 3, None)),
        ("a b/x.jsonl:2:7: not JSON", ("a b/x.jsonl", 2, 7)),
        ("127.0.0.1:8080: connection refused", (None, None, None)),
        ("api.example.com:443: no answer", (None, None, None)),
        ("there is no pipeline x", (None, None, None)),
        ("data/x.csv: no such file", (None, None, None)),
    ],
)
def test_the_place_at_the_beginning_of_a_message_is_that_of_the_problem(message, place):
    for kind in (UserError, WorldError):
        (problem,) = kind(message, hint="do this").documents()
        assert (problem["file"], problem["line"], problem["column"]) == place
        assert message.endswith(problem["message"])
        assert problem["hint"] == "do this"


def test_each_problem_has_its_own_place():
    problems = [Problem(Place("p.yaml", line, 3), "wrong", None) for line in (1, 2)]
    found = ProblemsFound(problems).documents()
    assert [(each["file"], each["line"], each["column"]) for each in found] == [
        ("p.yaml", 1, 3),
        ("p.yaml", 2, 3),
    ]


def test_the_first_problem_is_one_line():
    problems = [Problem(Place("p.yaml", 2, 3), "wrong", "do this"), Problem(Place("q.yaml"), "x")]
    assert ProblemsFound(problems).first_problem == "p.yaml:2:3: wrong"
