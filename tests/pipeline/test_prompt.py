import pytest

from loomgit.errors import ProblemsFound
from loomgit.pipeline.prompt import Prompt, RenderFailure

GIVEN = {"context": ["domain"], "variables": ["tone"], "fields": ["review", "items"]}


def problems(text, **options):
    return [str(p) for p in Prompt("prompts/p.txt", text).check(**{**GIVEN, **options})]


def render(text, row=None, **options):
    prompt = Prompt("prompts/p.txt", text, **options)
    return prompt.render(input=row or {}, context={"domain": "shops"}, variables={"tone": "dry"})


def test_input_context_and_vars_are_rendered():
    text = render("{{ context.domain }} {{ vars.tone }}: {{ input.review }}", {"review": "fine"})
    assert text == "shops dry: fine"


def test_a_records_text_is_data_and_never_template():
    assert render("{{ input.review }}", {"review": "{{ vars.tone }} {% raw %}"}) == (
        "{{ vars.tone }} {% raw %}"
    )


def test_nothing_is_escaped():
    assert render("{{ input.review }}", {"review": '<b> & "q"'}) == '<b> & "q"'


def test_a_field_named_like_a_dicts_method_is_the_field():
    assert render("{{ input.items }} {{ input['keys'] }}", {"items": "x", "keys": "y"}) == "x y"


def test_front_matter_is_not_sent_and_its_lines_count():
    text = "---\nid: classify\n---\nHello {{ input.reviw }}"
    assert render(text, {"reviw": "x"}) == "Hello x"
    assert problems(text)[0].startswith("prompts/p.txt:4:10: unknown variable 'input.reviw'")


def test_unknown_variables_name_prompt_line_column_and_the_nearest():
    assert problems("a\n{{ input.reviw }}\n{{ contxt.domain }} {{ vars.ton }}") == [
        "prompts/p.txt:2:4: unknown variable 'input.reviw': the records have no field 'reviw'\n"
        "hint: did you mean 'input.review'?",
        "prompts/p.txt:3:4: unknown variable 'contxt'\nhint: did you mean 'context'?",
        "prompts/p.txt:3:24: unknown variable 'vars.ton': not defined\n"
        "hint: did you mean 'vars.tone'?",
    ]


def test_a_missing_variable_says_how_to_give_it():
    assert problems("{{ vars.language }}") == [
        "prompts/p.txt:1:4: unknown variable 'vars.language': not defined\n"
        "hint: add --vars language=VALUE"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "{{ input.other is defined }}",
        "{{ input.other | default('none') }}",
        "{% for review in input.items %}{{ review }}{{ loop.index }}{% endfor %}",
        "{% set x = 1 %}{{ x }}",
        "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1) }}",
        "{{ input['review'] }}",
        "{{ range(3) | list }}",
    ],
)
def test_what_a_template_makes_itself_or_only_asks_for_is_no_fault(text):
    assert problems(text) == []


def test_fields_are_not_checked_where_the_records_are_not_known():
    assert problems("{{ input.anything }}", fields=None) == []


def test_a_field_that_one_record_lacks_is_that_records_failure():
    with pytest.raises(RenderFailure, match=r"^prompts/p.txt:2: the record has no field 'review'$"):
        render("a\n{{ input.review }}", {"other": 1})
    with pytest.raises(RenderFailure, match=r"has no field 'review'; it has 'reviw'$"):
        render("a\n{{ input.review }}", {"reviw": 1})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{{ ''.__class__.__mro__ }}", "not allowed in a prompt"),
        ("{{ input.n / 0 }}", "division by zero"),
        ("{{ input.n + 'x' }}", "unsupported operand"),
        ("{% for i in range(999999999) %}{% endfor %}", "Range too big"),
    ],
)
def test_what_an_expression_raises_is_that_records_failure(text, reason):
    with pytest.raises(RenderFailure, match=r"prompts/p.txt:1: .*" + reason):
        render(text, {"n": 1})


@pytest.mark.parametrize(
    ("text", "line"),
    [("a\n{{ input.x", 2), ("{% if %}", 1), ("{% nope %}", 1), ("---\nid: x\n---\n{{ }}", 4)],
)
def test_a_broken_template_names_its_line(text, line):
    with pytest.raises(ProblemsFound) as caught:
        Prompt("prompts/p.txt", text)
    assert caught.value.problems[0].place.line == line


def test_front_matter_that_is_not_closed_is_no_prompt():
    with pytest.raises(ProblemsFound, match=r"prompts/p.txt:1:1: the front matter is not closed"):
        Prompt("prompts/p.txt", "---\nid: x\nHello {{ input.review }}")


def test_included_templates_are_read_checked_and_known():
    parts = {"rules.txt": "Be {{ vars.tone }}.\n{{ input.nope }}", "deep.txt": "x"}
    prompt = Prompt("prompts/p.txt", "{% include 'rules.txt' %}", include=parts.get)
    assert list(prompt.includes) == ["rules.txt"]
    found = [str(p.place) for p in prompt.check(**GIVEN)]
    assert found == ["rules.txt:2:4"]
    with pytest.raises(RenderFailure, match=r"rules.txt:2: the record has no field 'nope'"):
        prompt.render(input={}, context={}, variables={"tone": "dry"})


def test_an_include_that_does_not_exist_is_a_fault_of_the_file():
    with pytest.raises(ProblemsFound, match=r"prompts/p.txt:2:\d+: template no.txt does not exist"):
        Prompt("prompts/p.txt", "a\n{% include 'no.txt' %}")
