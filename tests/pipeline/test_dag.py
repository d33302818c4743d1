"""Which pipelines run before which, and what expressions select."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loomgit.errors import UserError
from loomgit.pipeline.dag import Dag, SelectionFacts, Term, parse_selection, select

# raw -> clean -> scores -> report, clean -> labels; alone
SOURCES = {
    "alone": (), "clean": ("raw",), "labels": ("clean",), "raw": (), "report": ("scores",),
    "scores": ("clean",),
}  # fmt: skip
DAG = Dag({name: frozenset(sources) for name, sources in SOURCES.items()})
FACTS = SelectionFacts(
    tags={"raw": ("nightly",), "scores": ("nightly", "paid")},
    modified={"clean": ("prompts/a.txt: 1 -> 2", "model: a -> b")},
)


def chosen(expression, facts=FACTS):
    return set(select(DAG, parse_selection(expression), facts))


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("clean", "clean"),
        ("clean+", "clean labels scores report"),
        ("+clean", "raw clean"),
        ("+scores+", "raw clean scores report"),
        ("alone+", "alone"),
        ("raw alone", "raw alone"),
        ("tag:nightly", "raw scores"),
        ("tag:none", ""),
        ("tag:paid+", "scores report"),
        ("state:modified", "clean"),
        ("state:modified+", "clean labels scores report"),
        ("+state:modified", "raw clean"),
        ("state:modified+,tag:nightly", "scores"),
        ("raw+,+report", "raw clean scores report"),
        ("alone,raw", ""),
        ("alone state:modified+,tag:paid", "alone scores"),
    ],
)
def test_expressions_select(expression, names):
    assert chosen(expression) == set(names.split())


def test_nothing_modified_selects_nothing():
    assert chosen("state:modified+", SelectionFacts({}, {})) == set()


def test_reasons_are_told():
    found = select(DAG, parse_selection("state:modified+ scores"), FACTS)
    assert found["clean"] == ("modified: prompts/a.txt: 1 -> 2, model: a -> b",)
    assert found["labels"] == ("downstream of clean",)
    assert found["scores"] == ("downstream of clean", "named")
    assert select(DAG, parse_selection("+raw tag:paid"), FACTS) == {
        "raw": ("named",), "scores": ("tag paid",),
    }  # fmt: skip
    assert select(DAG, parse_selection("+clean"), FACTS)["raw"] == ("upstream of clean",)


@pytest.mark.parametrize(
    ("expression", "message", "hint"),
    [
        ("", "the selection is empty", "state:modified"),
        (" ", "the selection is empty", "state:modified"),
        ("claen", "there is no pipeline claen", "did you mean 'clean'?"),
        ("zzz", "there is no pipeline zzz", "pipelines/ has: alone, clean"),
        ("state:modifed", "'state:modifed': unknown state 'modifed'", "did you mean 'modified'?"),
        ("stat:modified", "'stat:modified': unknown selector 'stat:'", "did you mean 'state'?"),
        ("path:x", "'path:x': unknown selector 'path:'", "valid selectors: state, tag"),
        ("+", "'+' is not a selector", "name+"),
        ("clean,", "'' is not a selector", "name+"),
        ("++clean", "'++clean' is not a selector", "name+"),
    ],
)
def test_what_is_no_selection_is_told(expression, message, hint):
    with pytest.raises(UserError) as raised:
        chosen(expression)
    assert raised.value.message == message
    assert hint in raised.value.hint


def test_the_order_follows_the_data_and_else_the_names():
    assert DAG.order(set(SOURCES)) == ["alone", "raw", "clean", "labels", "scores", "report"]
    assert DAG.order({"report", "raw"}) == ["raw", "report"]  # though what joins them is left out


@pytest.mark.parametrize(
    ("sources", "cycle"),
    [
        ({"a": "b", "b": "a"}, {"a", "b"}),
        ({"a": "b", "b": "c", "c": "a", "d": "a"}, {"a", "b", "c"}),
        ({"a": "a"}, {"a"}),
        ({"a": "b", "b": ""}, set()),
    ],
)
def test_a_cycle_is_found_and_follows_the_waiting(sources, cycle):
    dag = Dag({name: frozenset(filter(None, [on])) for name, on in sources.items()})
    found = dag.find_cycle()
    assert set(found) == cycle
    for user, source in itertools.pairwise(found):
        assert source in dag.sources[user]
    assert found[:1] == found[-1:]


names = st.sampled_from("abcdef")


@given(st.dictionaries(names, st.frozensets(names, max_size=3)))
def test_every_order_has_sources_first(drawn):
    sources = {
        name: frozenset(other for other in drawn.get(name, ()) if other < name) for name in "abcdef"
    }
    dag = Dag(sources)
    order = dag.order(set("abcdef"))
    assert sorted(order) == list("abcdef")
    for user, wanted in sources.items():
        assert all(order.index(source) < order.index(user) for source in wanted)
        for other in "abcdef":
            assert (other in dag.upstream(user)) == (user in dag.downstream(other))


def test_terms_read_as_they_are_written():
    for text in ("a", "+a", "a+", "+a+", "state:modified+", "+tag:x"):
        (((term,)),) = parse_selection(text)
        assert str(term) == text
    assert parse_selection("a,b c") == ((Term("a"), Term("b")), (Term("c"),))
