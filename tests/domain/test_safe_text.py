"""What is printed and stored of text from outside."""

import base64
import json
import re

import pytest

from loomgit.domain.safe_text import Secrets, for_document, for_screen, hide, hide_in

SECRET = "s3cret/Value+1"


@pytest.fixture
def secrets():
    return Secrets()


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        f"key {SECRET}.",
        f"x{SECRET}y",
        "https://h/?k=s3cret%2FValue%2B1",
        json.dumps({"key": SECRET}),
        "https://h/?k=s3cret%2fValue%2b1",
        "https://h/s3cret/Value%2B1",
        '{"key": "s3cret\\/Value+1"}',
    ],
)
def test_a_known_secret_is_found_in_every_spelling(secrets, text):
    secrets.remember(f" {SECRET}\n")
    assert re.search("s3cret", secrets.hide(text)) is None
    assert "***" in secrets.hide(text)


def test_a_known_secret_is_found_in_other_codes(secrets):
    secrets.remember('a<b>&"c"/0123')
    for text in (base64.b64encode(b'a<b>&"c"/0123'), base64.b64encode(b':a<b>&"c"/0123')):
        assert secrets.hide(f"Basic {text.decode()}").startswith("Basic ***")
    assert secrets.hide("<p>a&lt;b&gt;&amp;&quot;c&quot;/0123</p>") == "<p>***</p>"


@pytest.mark.parametrize(
    ("secret", "text", "shown"),
    [
        ("k", "8 tokens, k", "8 tokens, k"),
        ("key", "the key is key", "the key is key"),
        ("token", "8 tokens, a token", "8 tokens, a token"),
        ("positive", "positive, positively", "***, positively"),
        ("ab12", "ab12 xab12 ab12-b", "*** xab12 ab12-b"),
        ("abcd1234", "xabcd1234y", "x***y"),
        ("", "nothing", "nothing"),
        ("  ", "a  b", "a  b"),
    ],
)
def test_a_word_that_holds_a_short_secret_by_chance_is_left(secrets, secret, text, shown):
    secrets.remember(secret)
    assert secrets.hide(text) == shown


def test_of_two_secrets_the_longer_one_is_hidden_whole(secrets):
    secrets.remember("abcd1234", "abcd1234efgh")
    assert secrets.hide("abcd1234efgh abcd1234") == "*** ***"


@pytest.mark.parametrize(
    "address",
    [
        "postgres://u:pa55word@h/db",
        "postgres://u:pa55%20word@h/db",
        "https://pa55word9@h/x.git",
        "https://h/x?api_key=pa55word&b=1",
        "https://h/x?b=1&access_token=pa55word",
        "postgres://u:pa55/word@h/db",
        "redis://:pa55word@h",
        "host=h password=pa55word user=u",
        "Authorization: Bearer pa55word",
        "sk-pa55word",
        "ghp_pa55wordpa55wordpa55",
    ],
)  # fmt: skip
def test_what_has_the_form_of_a_secret_is_hidden(address):
    for text in (address, f"cannot reach '{address}': refused", json.dumps({"a": address})):
        assert "pa55" not in hide(text)
        assert "***" in hide(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://github.com/a/b@v1.2",
        "http://127.0.0.1:8000/v1 is down, ask me@example.org",
        "ssh://git@github.com/a/b",
        "max_tokens=50, key=review_id, top_k=3",
        "a key: value pair, 3 secrets, token by token",
        "postgres://h/db",
        "http://127.0.0.1:8000/v1/models@latest",
        "risk-averse, desk-bound",
    ],
)
def test_what_is_no_secret_stays(text):
    assert hide(text) == text


def test_texts_in_a_document_are_hidden_and_other_values_stay():
    document = {"a": ["Bearer abc", 1, None, True, 2.5], "b": {"c": "postgres://u:p@h"}, "n": "x"}
    assert hide_in({"lost: Bearer abc": 2}) == {"lost: Bearer ***": 2}
    assert hide_in(document) == {
        "a": ["Bearer ***", 1, None, True, 2.5],
        "b": {"c": "postgres://***@h"},
        "n": "x",
    }


SCREEN = {
    "a colour": ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
    "a title": ("\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
    "a link": ("\x1b]8;;http://e\x1b\\here", "\\x1b]8;;http://e\\x1b\\here"),
    "eight bits": ("\x9b31m", "\\x9b31m"),
    "a bell": ("\x07", "\\x07"),
    "backspaces": ("ok\b\bno", "ok\\x08\\x08no"),
    "an overwritten line": ("failed\rpassed", "failed\\rpassed"),
    "a text turned around": ("\u202egnp.exe", "\\u202egnp.exe"),
    "half a character": ("\ud83d", "\\ud83d"),
    "another line break": ("a\u2028b\x85c", "a\\u2028b\\x85c"),
    "a command of GitHub": ("::error::owned", ": :error::owned"),
    "one after spaces": ("ok\n  ::set-output name=x::y", "ok\n  : :set-output name=x::y"),
    "an older one": ("x ##[error]owned", "x # #[error]owned"),
    "one of Azure": ("##vso[task.complete]", "# #vso[task.complete]"),
    "one of TeamCity": ("##teamcity[x]", "# #teamcity[x]"),
    "what is harmless": ("a\tb\nc::d ## title 日本 👩‍🚀 é", "a\tb\nc::d ## title 日本 👩‍🚀 é"),
}


@pytest.mark.parametrize(("text", "shown"), SCREEN.values(), ids=SCREEN)
def test_a_screen_obeys_nothing_that_comes_from_outside(text, shown):
    assert for_screen(text) == shown


@pytest.mark.parametrize("text", [text for text, _ in SCREEN.values() if "\ud83d" not in text])
def test_a_document_says_the_same_and_obeys_nothing(text):
    document = json.dumps({"a": text}, ensure_ascii=False)
    shown = for_document(document)
    assert json.loads(shown) == {"a": text}
    assert re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u202e]|##\\[", shown) is None
