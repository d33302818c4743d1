"""Templates that would not end, or would make too much: the record fails in time, with a reason."""

import time

import pytest

from loomgit.errors import ProblemsFound
from loomgit.pipeline.prompt import Prompt, RenderFailure
from loomgit.pipeline.template_sandbox import SECONDS

RECORD = {"text": "a" * 1000, "rows": list(range(1000)), "html": "<a href='x'>&\"</a>", "n": 10**9}
HOSTILE = {
    "a text times a number": "{{ 'x' * 10**10 }}",
    "a number times a text": "{{ 10**10 * 'x' }}",
    "a list times a number": "{{ ([0] * 10**10)|length }}",
    "a text times a number of the record": "{{ 'x' * input.n }}",
    "a power": "{{ 10 ** (10 ** 10) }}",
    "a power of a power": "{{ (10 ** 5000) ** 5000 }}",
    "a product of numbers": "{% set ns = namespace(x=10**3000) %}{% for i in range(99) %}"
    "{% set ns.x = ns.x * ns.x %}{% endfor %}{{ ns.x }}",
    "a text that doubles": "{% set ns = namespace(x='ab') %}{% for i in range(99) %}"
    "{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
    "a text that is added": "{% set ns = namespace(x='ab') %}{% for i in range(99) %}"
    "{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}",
    "a list that doubles": "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}"
    "{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x|length }}",
    "replacing": "{% set ns = namespace(x='ab') %}{% for i in range(99) %}"
    "{% set ns.x = ns.x|replace('a', ns.x) %}{% endfor %}{{ ns.x }}",
    "replacing by the method": "{% set ns = namespace(x='ab') %}{% for i in range(99) %}"
    "{% set ns.x = ns.x.replace('a', ns.x) %}{% endfor %}{{ ns.x }}",
    "joining": "{{ (['x'] * 10000)|join('y' * 10000) }}",
    "joining by the method": "{{ ('y' * 10000).join(['x'] * 10000) }}",
    "centring": "{{ 'x'|center(10000000000) }}",
    "centring by the method": "{{ 'x'.center(10000000000) }}",
    "padding": "{{ 'x'.ljust(10000000000) }}",
    "padding with zeros": "{{ 'x'.zfill(10000000000) }}",
    "tabs": "{{ '\\t'.expandtabs(10000000000) }}",
    "indenting": "{{ ('x\\n' * 1000)|indent(100000000) }}",
    "indenting JSON": "{{ input.rows|tojson(indent=100000000) }}",
    "a format": "{{ '%10000000000d' % 1 }}",
    "a format of a filter": "{{ '%10000000000d'|format(1) }}",
    "a format with a width": "{{ '%*d'|format(1000000000, 1) }}",
    "a format of the method": "{{ '{:>10000000000}'.format(1) }}",
    "a format with a field for the width": "{{ '{:{w}}'.format(1, w=1000000000) }}",
    "a format with a text for the width": "{{ '{:{w}}'.format(1, w='1000000000') }}",
    "a format of a map": "{{ '{:{w}}'.format_map({'': 1, 'w': 1000000000}) }}",
    "a format that is got by name": "{{ ('{:>10000000000}'|attr('format'))(1) }}",
    "lists in lists": "{% set ns = namespace(x=[1]) %}{% for i in range(40) %}"
    "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
    "lists in lists as JSON": "{% set ns = namespace(x=[1]) %}{% for i in range(40) %}"
    "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x|tojson }}",
    "a range that is joined": "{{ range(100000)|join('x' * 100000) }}",
    "what is mapped and joined": "{{ range(100000)|map('string')|join('x' * 100000) }}",
    "many widths": "{{ ('{0:99999}' * 1000).format(1) }}",
    "many widths of a format": "{{ ('%99999d' * 1000) % ((1,) * 1000) }}",
    "many tabs": "{{ ('\\t' * 1000).expandtabs(99999) }}",
    "many lines": "{{ ('a\\n' * 1000)|indent(99999) }}",
    "translating": "{{ ('x' * 10000).translate({120: 'y' * 100000}) }}",
    "JSON with a long indent": "{{ ([1] * 99999)|tojson(indent='x' * 1000000) }}",
    "wrapping": "{{ ('x' * 2000000)|wordwrap(1) }}",
    "wrapping words": "{{ ('x ' * 900000)|wordwrap(1) }}",
    "links": "{{ ('http://a.b ' * 150000)|urlize }}",
    "sorting": "{{ range(1000000)|map('string')|sort|length }}",
    "grouping": "{{ (['x', 'y'] * 500000)|groupby(0)|length }}",
    "distinct items": "{{ range(1000000)|unique|list|length }}",
    "the sum of lists": "{{ ([[1]] * 100000)|sum(start=[])|length }}",
    "batches": "{{ [1]|batch(10000000000, 0)|list|length }}",
    "slices": "{{ [1]|slice(10000000000)|list|length }}",
    "words of nonsense": "{{ lipsum(n=100000000) }}",
    "a long range": "{% for i in range(10000000000) %}{{ i }}{% endfor %}",
    "loops in loops": "{% for a in range(9999) %}{% for b in range(9999) %}"
    "{% for c in range(9999) %}{% endfor %}{% endfor %}{% endfor %}",
    "short loops in loops": "{% for a in 'x' * 99 %}{% for b in 'x' * 99 %}{% for c in 'x' * 99 %}"
    "{% for d in 'x' * 99 %}{% for e in 'x' * 99 %}{% endfor %}{% endfor %}{% endfor %}{% endfor %}"
    "{% endfor %}",
    "loops that write": "{% for a in range(9999) %}{% for b in range(9999) %}{{ input.text }}"
    "{% endfor %}{% endfor %}",
    "macros": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}"
    "{{ f(60) }}",
    "a recursive loop": "{% for a in range(50) recursive %}{{ loop(range(50)) if loop.depth < 9 }}"
    "{% endfor %}",
    "a macro without an end": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "a number of many digits": "{{ (10 ** 3000) ~ '' }}",
    "bytes of a number": "{{ (5).to_bytes(10000000000) }}",
}
FINE = {
    "{{ 'ab' * 3 }}": "ababab",
    "{{ 2 ** 10 }}": "1024",
    "{{ 'a' ~ 1 ~ 'b' }}": "a1b",
    "{{ '%05.1f' % 2.25 }} {{ '%s-%s'|format('a', 1) }}": "002.2 a-1",
    "{{ '{:>5}'.format('x') }}": "    x",
    "{{ '%s'|format(10000000000) }} {{ '{}'.format('5550001111') }}": "10000000000 5550001111",
    "{{ 'x'|center(5) }}|{{ 'a,b'|replace(',', ';') }}|{{ ['a', 'b']|join('-') }}": "  x  |a;b|a-b",
    "{% for i in input.rows %}{{ i if loop.last }}{% endfor %}": "999",
    "{% for i in range(3) %}{{ loop.index }}/{{ loop.length }} {% endfor %}": "1/3 2/3 3/3 ",
    "{% for i in range(2000) if i > 1998 %}{{ loop.first }}{{ i }}{% endfor %}": "True1999",
    "{% for i in [] %}x{% else %}none{% endfor %}": "none",
    "{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{% endfor %}": "a1",
    "{% for a in [1, 2] %}{% for b in [3] %}{{ a }}{{ b }}{% endfor %}{% endfor %}": "1323",
    "{{ input.html|tojson }}": '"<a href=\'x\'>&\\"</a>"',
    "{{ {'b': 'é', 'a': [1, none]}|tojson }}": '{"a": [1, null], "b": "é"}',
    "{{ [1]|tojson(indent=1) }}": "[\n 1\n]",
    "{{ [3, 1]|sort|first }}{{ 'x'|upper }}{{ 'a b'|wordcount }}": "1X2",
    "{{ [1, 2, 3]|batch(2)|list }}": "[[1, 2], [3]]",
}  # fmt: skip


def render(text, **files):
    prompt = Prompt("prompts/p.txt", text, include=files.get)
    return prompt.render(input=RECORD, context={}, variables={})


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_template_ends_in_time_and_the_record_fails_with_the_reason(text):
    began = time.thread_time()
    with pytest.raises(RenderFailure) as caught:
        render(text)
    assert time.thread_time() - began < SECONDS + 3
    assert str(caught.value).startswith("prompts/p.txt:1: ")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(("text", "rendered"), FINE.items())
def test_usual_templates_render_as_before(text, rendered):
    assert render(text) == rendered


def test_a_template_that_is_nested_too_deeply_is_a_fault_of_the_file():
    with pytest.raises(ProblemsFound, match="nested too deeply"):
        Prompt("prompts/p.txt", "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}")


def test_what_is_undefined_is_no_json():
    with pytest.raises(RenderFailure, match="no field 'nope'"):
        render("{{ input.nope|tojson }}")


# -- includes and imports

MACROS = {
    "fmt.txt": "{% macro bullet(x) %}- {{ x }}{% endmacro %}{% set mark = '*' %}",
    "plain.txt": "plain",
}


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("{% from 'fmt.txt' import bullet %}{{ bullet(1) }}", "- 1"),
        ("{% from 'fmt.txt' import bullet as b, mark %}{{ b(1) }}{{ mark }}", "- 1*"),
        ("{% import 'fmt.txt' as fmt %}{{ fmt.bullet(1) }}{{ fmt.mark }}", "- 1*"),
        ("{% include 'none.txt' ignore missing %}x", "x"),
        ("{% include ['none.txt', 'plain.txt'] %}", "plain"),
        ("{% include ['none.txt', 'nope.txt'] ignore missing %}x", "x"),
        ("{% include 'plain.txt' ignore missing %}", "plain"),
    ],
)
def test_imports_and_ignore_missing_are_jinjas(text, rendered):
    prompt = Prompt("prompts/p.txt", text, include=MACROS.get)
    assert prompt.check(context=[], variables=[], fields=["text"]) == []
    assert prompt.render(input=RECORD, context={}, variables={}) == rendered


@pytest.mark.parametrize(
    "text",
    [
        "{% include 'none.txt' %}",
        "{% include ['a.txt', 'b.txt'] %}",
        "{% import 'none.txt' as x %}",
        "{% extends 'none.txt' %}",
    ],
)
def test_what_is_missing_is_a_fault(text):
    with pytest.raises(ProblemsFound, match="does not exist"):
        Prompt("prompts/p.txt", text, include=MACROS.get)
