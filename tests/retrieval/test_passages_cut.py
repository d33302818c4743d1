from hypothesis import given
from hypothesis import strategies as st

from loomgit.domain.passages import show_document
from loomgit.retrieval.passages import MAX_CHARACTERS, cut

GUIDE = """\
Hello.

# Returns

Within 30 days.

```sh
# no heading
```

## Exceptions
Gift cards.

## Nothing here
"""


def texts(document, text):
    return [passage.text for passage in cut(document, text)]


def test_markdown_is_cut_at_its_headings_but_not_inside_of_code():
    assert texts("docs/a.md", GUIDE) == [
        "Hello.",
        "# Returns\n\nWithin 30 days.\n\n```sh\n# no heading\n```",
        "## Exceptions\n\nGift cards.",
        "## Nothing here",
    ]
    assert [p.number for p in cut("docs/a.md", GUIDE)] == [1, 2, 3, 4]


def test_in_other_texts_a_number_sign_is_no_heading():
    assert texts("notes.txt", "one\n\n# two\n\nthree") == ["one\n\n# two\n\nthree"]


def test_each_passage_of_a_long_section_has_its_heading():
    found = texts("a.md", "# Prices\n\n" + "\n\n".join(["word " * 80] * 5))
    assert len(found) == 3
    assert all(text.startswith("# Prices\n\nword") for text in found)


def test_a_long_paragraph_is_cut_between_sentences():
    sentence = "This is a sentence of some length. "
    found = texts("a.txt", sentence * 100)
    assert all(text.endswith("length.") for text in found)
    assert sum(text.count("sentence") for text in found) == 100


def test_line_ends_and_the_byte_order_mark_do_not_count():
    assert texts("a.md", "\ufeff# A\r\n\r\nb\r\n") == ["# A\n\nb"]
    assert cut("a.md", " \n\n") == []


TEXT = st.text(alphabet=st.sampled_from("ab .\n#`é"), max_size=3000)


@given(TEXT, st.sampled_from(["a.md", "b"]))
def test_no_passage_is_too_long_or_empty_and_no_letter_is_lost(text, name):
    found = cut(name, text)
    assert all(0 < len(passage.text) <= MAX_CHARACTERS for passage in found)
    for letter in "abé":
        assert sum(p.text.count(letter) for p in found) >= text.count(letter) or "#" in text


def test_a_passage_is_shown_with_its_source_and_other_documents_as_they_are():
    (passage,) = cut("docs/a.md", "Thirty days.")
    assert show_document(passage.as_json()) == "[docs/a.md#1] Thirty days."
    assert show_document("plain") == "plain"
    assert show_document({"text": "t"}) == '{"text":"t"}'
