"""The assertion language: what it takes, what it refuses, and the exact place of each fault."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loomgit.config.assertions import parse_assertion
from loomgit.config.suites import parse_suite
from loomgit.domain.assertions import (
    FUNCTIONS,
    BooleanName,
    Choice,
    ComparisonChain,
    Conjunction,
    Constant,
    Disjunction,
    Name,
    Negation,
    ShareOfReplies,
    Statistic,
    evaluators_in,
    names_in,
    render,
)
from loomgit.domain.place import Place
from loomgit.errors import ProblemsFound

AT = Place("tests/faq_test.yaml", 7, 9)


def tree(text, kind="unit"):
    return parse_assertion(text, AT, kind).tree


def fault(text, kind="unit"):
    with pytest.raises(ProblemsFound) as caught:
        parse_assertion(text, AT, kind)
    return caught.value.problems


def number(value):
    return Constant(value)


SCORE = Name("evaluation_score")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("evaluation_score > 0.9", ComparisonChain(SCORE, ((">", number(0.9)),))),
        ("passed", BooleanName(Name("passed"))),
        ("not passed", Negation(BooleanName(Name("passed")))),
        ("score.tone-check.v2 >= .5",
         ComparisonChain(Name("score", ("tone-check", "v2")), ((">=", number(0.5)),))),
        ("output.items.0.price == -3.5e2",
         ComparisonChain(Name("output", ("items", "0", "price")), (("==", number(-350)),))),
        ("0.5 < evaluation_score <= 0.9",
         ComparisonChain(number(0.5), (("<", SCORE), ("<=", number(0.9))))),
        ("output.text not contains \"it's\"",
         ComparisonChain(Name("output", ("text",)), (("not contains", Constant("it's")),))),
        (r"output.id matches '^\d+\.$'",
         ComparisonChain(Name("output", ("id",)), (("matches", Constant(r"^\d+\.$")),))),
        ("output.x in ['a', 1, null, true,]",
         ComparisonChain(Name("output", ("x",)),
                    (("in", Choice((Constant("a"), number(1), Constant(None), Constant(True)))),))),
        ("'love' in output.text",
         ComparisonChain(Constant("love"), (("in", Name("output", ("text",))),))),
    ],
)  # fmt: skip
def test_a_text_means_its_tree(text, meant):
    assert tree(text) == meant


def test_and_binds_more_than_or_and_not_more_than_both():
    a, b, c = (BooleanName(Name("output", (x,))) for x in "abc")
    assert tree("output.a or output.b and not output.c") == Disjunction(
        (a, Conjunction((b, Negation(c))))
    )
    assert tree("(output.a or output.b) and output.c") == Conjunction((Disjunction((a, b)), c))


def test_functions_are_of_names_and_rates_of_conditions():
    scores = Name("evaluation_scores")
    assert tree("p95(latencies) < 5", "distributional") == ComparisonChain(
        Statistic("p95", Name("latencies")), (("<", number(5)),)
    )
    low = ComparisonChain(scores, (("<", number(0.5)),))
    assert tree("rate(evaluation_scores < 0.5) < 0.05", "distributional") == ComparisonChain(
        ShareOfReplies("rate", low), (("<", number(0.05)),)
    )


@pytest.mark.parametrize("text", [r"'a\'b\\c\n'", '"a\'b\\\\c\n"'])
def test_quotes_backslashes_and_line_ends_can_be_written(text):
    found = tree(f"output.x == {text}")
    assert found.links[0][1] == Constant("a'b\\c\n")


def test_names_can_be_asked_for():
    found = tree("rate(score.a < 0.5 or not output.b) < 1 and mean(scores.c) > 0", "distributional")
    assert [str(name) for name in names_in(found)] == ["score.a", "output.b", "scores.c"]
    assert [name for name, _ in evaluators_in(found)] == ["a", "c"]


UNIT_FAULTS = [
    # text, column of the fault in it, message, hint
    ("evaluation_scor > 0.9", 0, "unknown name 'evaluation_scor'", "mean 'evaluation_score'"),
    ("cost < 1 and evaluation_scores > 0.9", 13, "unknown name", "did you mean 'evaluation_score'"),
    ("score > 0.5", 0, "unknown name 'score'", "write score.NAME"),
    ("cost.usd < 1", 0, "unknown name 'cost.usd'", "write cost, which has no fields"),
    ("output.x == positive", 12, "unknown name 'positive'", "put text in quotes ('positive')"),
    ("output.x is 'a'", 9, "expected 'and', 'or' or the end, found 'is'", "write =="),
    ("output.x = 'a'", 9, "unexpected '='", "write '=='"),
    ("passed && passed", 7, "unexpected '&&'", "write 'and'"),
    ("passed AND passed", 7, "expected 'and', 'or' or the end", "did you mean 'and'?"),
    ("True", 0, "unknown name 'True'", "write true"),
    ("evaluation_score > 90", 19, "is always from 0 to 1, never 90", "did you mean 0.9?"),
    ("evaluation_score > 5%", 20, "unexpected '%'", "write a fraction, for example 0.05 for 5%"),
    ("cost + 1 < 2", 5, "unexpected '+'", "do not support arithmetic"),
    ("evaluation_score > '0.9'", 19, "is a number, but '0.9' is not", "remove the quotes"),
    ("evaluation_score", 0, "evaluation_score is not a condition", "evaluation_score > 0.9"),
    ("0.9", 0, "found only a value", "compare it"),
    ("output", 0, "output is not a condition", "use one of its fields"),
    ("1 < 2", 0, "the comparison is between two constants", "compare a name"),
    ("(cost < 1) < 2", 0, "a condition cannot be compared", "join the conditions with 'and'"),
    ("cost < 1 in output.x", 9, "'in' cannot follow another comparison", "join the comparisons"),
    ("cost contains 'x'", 0, "cost is a number, so 'contains' does not apply", None),
    ("passed > 0", 0, "'>' needs a number or text", None),
    ("output.x > null", 11, "'>' needs a number or text", None),
    ("output.x == ['a']", 12, "a list can only follow 'in'", None),
    ("output.x in 5", 12, "expected a list after 'in'", "write ['a', 'b']"),
    ("output.x in [a, b]", 13, "expected text or a number, found 'a'", "put text in quotes: 'a'"),
    ("output.x in ['a' 'b']", 17, "expected ',', found text", None),
    ("output.x matches '('", 17, "invalid regular expression: missing )", None),
    ("output.x matches output.y", 17, "expected a regular expression in quotes", None),
    ("output.x matches '((a{1000}){1000}){1000}'", 17, "its repeats expand to", None),
    ("output.x == 'a", 12, "the quote ' is not closed", None),
    ("(passed", 7, "expected ')', found the end", None),
    ("passed)", 6, "expected 'and', 'or' or the end, found ')'", None),
    ("cost <", 6, "expected a value, found the end", None),
    ("latency < 5s", 10, "'5s' is not a number", None),
    ("cost < 1e999", 7, "the number '1e999' is too large", None),
    ("", 0, "the assertion is empty", "write a condition"),
    ("mean(evaluation_score) > 0.5", 0, "checks one reply at a time", "distributional test"),
]  # fmt: skip
DISTRIBUTIONAL_FAULTS = [
    ("evaluation_scores > 0.5", 0, "has many values here", "write mean(evaluation_scores)"),
    ("passed", 0, "has many values here", "write rate(passed)"),
    ("mean_score > 0.5", 0, "unknown name 'mean_score'", "write mean(evaluation_scores)"),
    ("average(cost) > 0.5", 0, "unknown function 'average'", "write mean"),
    ("men(cost) > 0.5", 0, "unknown function 'men'", "did you mean 'mean'?"),
    ("mean() > 0.5", 4, "mean() has no argument", "write mean(evaluation_scores)"),
    ("mean(cost < 1) > 0.5", 10, "mean() takes a number, not a condition", "write rate(CONDITION)"),
    ("mean(mean(cost)) > 1", 5, "expected a name in mean()", "write mean"),
    ("rate(mean(cost) > 1) > 1", 5, "mean() cannot be used inside rate()", None),
    ("mean(passed) > 0.5", 5, "passed is not a number", "write rate(passed)"),
    ("mean(output) > 0.5", 5, "output is not a number", "use a field"),
    ("rate(cost) > 0.5", 5, "cost is not a condition", "compare it"),
    ("mean(cost) == 1", 0, "is an estimate, so '==' does not apply", "use <, <=, > or >="),
    ("mean(cost) > std(cost)", 13, "must be compared with a number", "write mean(...) > 0.5"),
    ("mean(cost) in [1]", 14, "must be compared with a number", "write mean(...) > 0.5"),
    ("rate(passed) > 95", 15, "rate is always from 0 to 1", "did you mean 0.95?"),
    ("rate(output.x = 'a') > 0.5", 14, "unexpected '='", "write '=='"),
    ("rate(score.tone < 7) > 0.5", 18, "score.tone is always from 0 to 1", "did you mean 0.07?"),
]
INTEGRATION_FAULTS = [
    ("record_loaded > 95", 0, "unknown name 'record_loaded'", "did you mean 'records_loaded'?"),
    ("records_loaded", 0, "records_loaded is not a condition", "compare it"),
    ("status", 0, "status is not a condition", "status == 'success'"),
    ("status > 5", 9, "status is text, but 5 is not", None),
    ("mean(score.label) > 0.5", 0, "one run as a whole", "distributional test"),
    ("evaluation_scores > 0.5", 0, "unknown name", "records_loaded"),
]
FAULTS = [
    *(("unit", *row) for row in UNIT_FAULTS),
    *(("distributional", *row) for row in DISTRIBUTIONAL_FAULTS),
    *(("integration", *row) for row in INTEGRATION_FAULTS),
]


@pytest.mark.parametrize(("kind", "text", "offset", "message", "hint"), FAULTS)
def test_a_fault_is_named_at_its_place(kind, text, offset, message, hint):
    (found,) = fault(text, kind)
    assert message in found.message
    assert (hint or "") in (found.hint or "")
    assert (hint is None) == (found.hint is None)
    assert found.place == Place(AT.path, AT.line, AT.column + offset)


def test_every_wrong_name_of_an_assertion_is_told():
    found = fault("scor.a > 0.5 and rate(outptu.x) < 1 or mean(latncy) < 2", "distributional")
    assert [p.place.column - AT.column for p in found] == [0, 22, 44]


# -- places in files


def suite_text(assertion_yaml):
    head = "pipeline: faq\nunit_tests:\n  - name: a\n    input: {}\n    assertions:\n"
    return head + assertion_yaml


@pytest.mark.parametrize(
    "lines",
    [
        "      - cost < 1 and WRONG > 1\n",
        "      - 'cost < 1 and WRONG > 1'\n",
        "      - 'output.x == ''a'' and WRONG > 1'\n",
        '      - "cost < 1 and WRONG > 1"\n',
        '      - "output.x == \\"a\\\\\\\\\\x41\\u00e9\\" and WRONG > 1"\n',
        '      - "cost < 1 \\\n          and WRONG > 1"\n',
        '      - "cost < 1 and \\\n          WRONG > 1"\n',
        "      - cost < 1\n        and WRONG > 1\n",
        "      - |\n        cost < 1  \n\n           and   WRONG > 1\n",
        "      - 'cost < 1\n\n        and WRONG > 1'\n",
        "      - |\n        cost < 1\n          and WRONG > 1\n",
        "      - >-\n        cost < 1\n        and WRONG > 1\n",
        "      - >2\n          cost < 1\n\n          and\n          WRONG > 1\n",
        "      [cost < 1, output.x == 'ö😀' and WRONG > 1]\n",
        "      - &here output.x == 'ö😀' and WRONG > 1\n",
        "      - &here 'output.x == ''a'' and WRONG > 1'\n",
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_the_place_is_that_of_the_wrong_word_however_it_is_quoted(lines, end, mark):
    text = suite_text(lines)
    with pytest.raises(ProblemsFound) as caught:
        parse_suite(mark + text.replace("\n", end), "t.yaml")
    (problem,) = caught.value.problems
    rows = text.split("\n")
    assert rows[problem.place.line - 1][problem.place.column - 1 :].startswith("WRONG")
    assert "unknown name 'WRONG'" in problem.message


def test_all_faults_of_a_file_come_at_once_with_their_keys():
    text = (
        "pipeline: faq\nunit_tests:\n"
        "  - {name: a, input: {}, assertions: [cost < 1, cot < 1], min_pas: 3}\n"
        "distributional_tests:\n"
        "  - {name: b, type: statistical, assertions: ['mean(cots) < 1', 'rate(x']}\n"
        "integration_tests:\n  - {name: c, assertions: [duratoin < 5]}\n"
    )
    with pytest.raises(ProblemsFound) as caught:
        parse_suite(text, "t.yaml")
    rows = text.splitlines()
    problems = caught.value.problems
    at = [rows[p.place.line - 1][p.place.column - 1 :][:5] for p in problems]
    assert at == ["cot <", "min_p", "cots)", "']}", "durat"]
    assert [p.message for p in problems] == [
        "unit_tests.0.assertions.1: unknown name 'cot'",
        "unit_tests.0.min_pas: unknown key",
        "distributional_tests.0.assertions.0: unknown name 'cots'",
        "distributional_tests.0.assertions.1: expected ')', found the end",
        "integration_tests.0.assertions.0: unknown name 'duratoin'",
    ]


def test_a_suite_has_its_assertions_as_trees():
    text = suite_text("      - cost < 1\n      - passed\n")
    found = parse_suite(text, "t.yaml").unit_tests[0].assertions
    assert [render(assertion.tree) for assertion in found] == ["cost < 1", "passed"]
    assert found[1].place == Place("t.yaml", 7, 9)
    assert found[1].tree.of.place == Place("t.yaml", 7, 9)


@pytest.mark.parametrize(
    ("field", "shown"),
    [
        ("sentiment", "unknown name 'sentiment'\nhint: did you mean output.sentiment?"),
        ("outptu.x", "unknown name 'outptu.x'\nhint: did you mean 'output'?"),
    ],
)
def test_the_field_of_a_drift_test_is_a_name_too(field, shown):
    text = f"pipeline: faq\ndistributional_tests:\n  - {{name: a, type: drift, field: {field}}}\n"
    with pytest.raises(ProblemsFound) as caught:
        parse_suite(text, "t.yaml")
    assert str(caught.value) == f"t.yaml:3:28: distributional_tests.0.field: {shown}"


# -- limits


@pytest.mark.parametrize(
    "text",
    ["(" * 33 + "passed" + ")" * 33, "not " * 33 + "passed", "rate(" * 40, "[" * 100],
)
def test_deep_nesting_is_refused(text):
    (problem,) = fault(text, "distributional")
    assert "nested deeper than 32" in problem.message or "expected" in problem.message


def test_thirty_two_levels_are_fine():
    assert tree("(" * 32 + "passed" + ")" * 32) == BooleanName(Name("passed"))


def test_a_text_of_any_size_is_answered_at_once():
    begin = time.thread_time()  # the machine may be busy with other tests
    for text in ("a" * 10**6, "(" * 10**6, "'" * 10**6, "1" * 10**6):
        (problem,) = fault(text)
        assert "at most 2,000 characters" in problem.message
    for text in ("1" * 1999, "." * 1999, "a.b" * 600, "'a" * 999, "not" * 600, "a-" * 900):
        assert fault(text)
    assert time.thread_time() - begin < 5  # 0.3 s; a slow pattern would take minutes


@given(st.text(alphabet=st.sampled_from("ab.-_ '\"\\()[]<>=!,0159eE+%\nnotandorin "), max_size=40))
def test_any_text_is_an_assertion_or_a_fault(text):
    for kind in ("unit", "distributional", "integration"):
        try:
            parse_assertion(text, AT, kind)
        except ProblemsFound as error:
            for problem in error.problems:
                assert (problem.place.line, problem.place.column) >= (AT.line, AT.column)


# -- round trip

constants = st.one_of(
    st.integers(-(2**62), 2**62), st.floats(-1e18, 1e18), st.text(max_size=8), st.booleans()
).map(Constant)
parts = st.from_regex(r"[a-z_][a-z0-9_]{0,5}(-[a-z0-9]{1,3})?", fullmatch=True)
fields = st.lists(parts, min_size=1, max_size=3).map(lambda path: Name("output", tuple(path)))
orders = st.sampled_from(["<", "<=", ">", ">="])
comparisons = st.one_of(
    st.builds(lambda f, o, c: ComparisonChain(f, ((o, c),)), fields, st.sampled_from(["==", "!="]),
              constants),
    st.builds(lambda a, o, f, p, b: ComparisonChain(a, ((o, f), (p, b))),
              st.floats(0, 1).map(Constant), orders, fields, orders, st.integers().filter(
                  lambda x: abs(x) < 2**63).map(Constant)),
    st.builds(lambda f, o, t: ComparisonChain(f, ((o, t),)), fields,
              st.sampled_from(["contains", "not contains", "in", "not in"]),
              st.text(max_size=8).map(Constant)),
    st.builds(lambda f, o, c: ComparisonChain(f, ((o, Choice(tuple(c))),)), fields,
              st.sampled_from(["in", "not in"]), st.lists(constants, max_size=3)),
    fields.map(BooleanName),
)  # fmt: skip
conditions = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        inner.map(Negation),
        st.lists(inner, min_size=2, max_size=3).map(tuple).map(Conjunction),
        st.lists(inner, min_size=2, max_size=3).map(tuple).map(Disjunction),
    ),
    max_leaves=6,
)


@given(conditions)
def test_a_condition_survives_rendering(condition):
    assert tree(render(condition)) == condition


shares = st.builds(ShareOfReplies, st.just("rate"), conditions)
statistics = st.builds(Statistic, st.sampled_from(FUNCTIONS), fields)
limits = st.floats(0, 1).map(Constant)


@given(st.one_of(shares, statistics), orders, limits)
def test_a_claim_about_many_replies_survives_rendering(value, order, limit):
    condition = ComparisonChain(value, ((order, limit),))
    assert tree(render(condition), "distributional") == condition
