"""`.env` files, and references revealed at the moment of use."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loomgit.config.environment import Environment, parse_env
from loomgit.domain.place import Place
from loomgit.domain.settings import Secret
from loomgit.errors import LoomError, ProblemsFound, UserError

PLACE = Place(".loom/config.yaml", 3, 14)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=b", "b"),
        ("  export A = b  ", "b"),
        ("A=", ""),
        ("A='b # c'  # d", "b # c"),
        ('A="b # c"', "b # c"),
        ("A=b # c", "b"),
        ("A=b#c", "b#c"),
        ("A=#", "#"),
        ("A='$HOME \\n'", "$HOME \\n"),
        ('A="x\\ny\\t\\"z\\" \\\\ \\$"', 'x\ny\t"z" \\ $'),
        ('A="one\ntwo"', "one\ntwo"),
        ("A='one\n\ntwo'\n", "one\n\ntwo"),
        ("A=b=c==", "b=c=="),
        ("A=it's", "it's"),
        ("A=päß wörd", "päß wörd"),
        ("A=b\r\n", "b"),
        ("\ufeffA=b", "b"),
        ("# A=c\n\nA=b\n   # end", "b"),
        ("A=c\nA=b", "b"),
    ],
)
def test_a_line_gives_its_value(line, value):
    assert parse_env(line, ".env") == {"A": value}


@pytest.mark.parametrize(
    "line", ["just words", "LONELY", "1A=b", "=b", "A='b", 'A="b', "A='b' c", "A-B=c"]
)
def test_a_damaged_line_is_a_fault_that_keeps_its_text_to_itself(line):
    with pytest.raises(ProblemsFound) as caught:
        parse_env(f"OK=1\n{line}\nALSO=2\n", ".env")
    assert caught.value.problems[0].place == Place(".env", 2)
    assert caught.value.problems[0].message == "expected NAME=value"
    assert line not in str(caught.value)


def test_a_damaged_line_does_not_hide_another():
    with pytest.raises(ProblemsFound) as caught:
        parse_env("one\nA=b\ntwo\n", ".env")
    assert [problem.place.line for problem in caught.value.problems] == [1, 3]


def test_the_process_wins_over_the_file(tmp_path):
    (tmp_path / ".env").write_text("A=file\nB=file\n", encoding="utf-8")
    environment = Environment.from_project(tmp_path, {"A": "process", "C": "process"})
    assert environment.variables == {"A": "process", "B": "file", "C": "process"}


def test_a_project_needs_no_file(tmp_path):
    assert Environment.from_project(tmp_path, {"A": "b"}).variables == {"A": "b"}


def test_a_file_that_is_no_text_is_a_fault(tmp_path):
    (tmp_path / ".env").write_bytes(b"A=b\nB=\xff\n")
    with pytest.raises(ProblemsFound, match=r"\.env:2:3: not UTF-8"):
        Environment.from_project(tmp_path, {})


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("plain", "plain"),
        ("${USER}", "ann"),
        ("postgres://${USER}:${PASSWORD}@h/d", "postgres://ann:s3cret@h/d"),
        ("${NONE:-x}", "x"),
        ("${NONE:-}", ""),
        ("${EMPTY}", ""),
        ("${EMPTY:-x}", "x"),
        ("${USER:-x}", "ann"),
        ("$USER", "$USER"),
        ("${RECURSIVE}", "${USER}"),
    ],
)
def test_references_are_replaced(template, value):
    variables = {"USER": "ann", "PASSWORD": "s3cret", "EMPTY": "", "RECURSIVE": "${USER}"}
    assert Environment(variables).reveal(Secret(template, PLACE)) == value


def test_a_missing_variable_is_named_with_the_place_that_wants_it():
    with pytest.raises(UserError) as caught:
        Environment({"OPENAI_KEY": "s3cret"}).reveal(Secret("x ${OPENAI_API_KEY}", PLACE))
    assert caught.value.message == (
        ".loom/config.yaml:3:14: the environment variable OPENAI_API_KEY is not set"
    )
    assert caught.value.hint == "did you mean 'OPENAI_KEY'?"
    assert caught.value.exit_code == 2


def test_a_missing_variable_without_a_near_one_can_be_set():
    with pytest.raises(UserError) as caught:
        Environment({}).reveal(Secret("${TOKEN}", PLACE))
    assert caught.value.hint == "set TOKEN, or add it to .env"


def test_values_are_never_shown():
    assert "s3cret" not in repr(Environment({"TOKEN": "s3cret"}))


@given(st.text())
def test_no_text_crashes_the_reader_of_env_files(text):
    try:
        parse_env(text, ".env")
    except LoomError as error:
        assert isinstance(error, ProblemsFound)  # noqa: PT017 - nothing else may come out


@given(st.text(st.characters(exclude_characters="'\r", exclude_categories=["Cs"])))
def test_what_stands_between_single_quotes_is_the_value(value):
    assert parse_env(f"A='{value}'", ".env") == {"A": value}
