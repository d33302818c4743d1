import random

import pytest

from loomgit.domain.training import LabelledExample
from loomgit.errors import UserError
from loomgit.training import corpus as corpus_module
from loomgit.training.corpus import divide
from tests.training.generated import HAM, message, messages


def texts(examples):
    return {each.values[0] for each in examples}


def labelled(pairs, field="text"):
    return [LabelledExample({field: text}, label) for text, label in pairs]


def test_about_a_third_is_held_out_and_all_are_used():
    corpus = divide(messages(3000), ["text"])
    assert corpus.examples == len(corpus.training) + len(corpus.held_out) == 3000
    assert 900 < len(corpus.held_out) < 1100
    assert not texts(corpus.training) & texts(corpus.held_out)


def test_the_corpus_does_not_depend_on_the_order():
    examples = messages(500)
    shuffled = random.Random(7).sample(examples, len(examples))
    assert divide(shuffled, ["text"]) == divide(examples, ["text"])


def test_an_example_stays_on_its_side_when_others_are_added():
    before, after = divide(messages(300), ["text"]), divide(messages(900), ["text"])
    assert texts(before.training) < texts(after.training)
    assert texts(before.held_out) < texts(after.held_out)


def test_nearly_identical_texts_are_on_the_same_side():
    examples = []
    for number in range(200):
        text = f"claim prize {chr(97 + number % 26)} number{number}x"
        versions = [text, f"{text.upper()}!!", text.replace(" ", "\n "), text.replace("x", " x")]
        examples += labelled([(versions[0], "a"), (versions[1], "b"), (versions[2], "a")])
    corpus = divide(examples, ["text"])

    def words(side):
        return {" ".join(each.values[0].casefold().strip("!").split()) for each in side}

    assert words(corpus.training)
    assert not words(corpus.training) & words(corpus.held_out)


def test_texts_that_differ_in_numbers_only_are_on_the_same_side():
    examples = labelled([(f"call 0900-{number:05} now", "a") for number in range(50)])
    examples += messages(100)
    corpus = divide(examples, ["text"])
    sides = [
        any(text.startswith("call 0900") for text in texts(side))
        for side in (corpus.training, corpus.held_out)
    ]
    assert sum(sides) == 1


def test_texts_without_words_are_told_apart_by_all_fields():
    examples = [
        LabelledExample({"text": "!?"[n % 2], "n": n}, "ab"[n % 2]) for n in range(100)
    ] + messages(10)
    corpus = divide(examples, ["text", "n"])
    assert 15 < len(corpus.held_out) < 55


def test_a_label_always_has_an_example_to_learn_from():
    many = messages(200)
    held_out = [each.values[0] for each in divide(many, ["text"]).held_out[:2]]
    examples = many + labelled([(text + "?", "rare") for text in held_out])
    corpus = divide(examples, ["text"])
    place = corpus.labels.index("rare")
    assert place in corpus.training_labels
    assert not texts(corpus.training) & texts(corpus.held_out)


def test_the_limits_leave_out_the_same_examples_in_any_order(monkeypatch):
    monkeypatch.setattr(corpus_module, "MAX_EXAMPLES", 60)
    monkeypatch.setattr(corpus_module, "MAX_SIDE_CHARACTERS", 3000)
    monkeypatch.setattr(corpus_module, "MIN_PER_LABEL", 7)
    examples = messages(2000, spam_rate=0.02)
    corpus = divide(examples, ["text"])
    assert corpus.examples == 2000
    assert len(corpus.training) <= 67
    assert sum(each.characters for each in corpus.training) < 4000
    assert corpus.training_labels.count(corpus.labels.index("spam")) >= 7
    for seed in range(5):
        shuffled = random.Random(seed).sample(examples, len(examples))
        assert divide(shuffled, ["text"]) == corpus


def test_labels_of_different_types_are_different():
    rng = random.Random(3)
    labels = [1, True, "1", "True", False, 0.5]
    examples = labelled([(message(rng, HAM), labels[n % 6]) for n in range(120)])
    corpus = divide(examples, ["text"])
    assert sorted(map(repr, corpus.labels)) == sorted(map(repr, labels))


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([], "there are no examples to train on"),
        (labelled([("a b", "x")] * 9), "all 9 examples have the label 'x': two labels are needed"),
        (labelled([("a", "x"), ("b", "x"), ("c", "y")]), "only one example has the label 'y'"),
        (labelled([("a", "x"), ("b", "x"), ("c", "y"), ("c", "z")]), "has the label 'y', 'z'"),
        (labelled([("a", "x"), ("a", "y")] * 4, "body"), "no example has the field 'text'"),
        (labelled([("", "x"), (" ", "y"), (None, "x"), ("", "y")]), "no field contains text"),
        (labelled([(n, "xy"[n % 2]) for n in range(9)]), "no field contains text: 'text'"),
        (labelled([(str(n), "xy"[n % 2]) for n in range(9)]), "no field contains text: 'text'"),
        (labelled([(["a"], "x")]), "the field 'text' is not a text"),
        (labelled([("a", "x"), ("b", None)]), "the label is empty"),
        (labelled([("same", "x"), ("same", "y")] * 5), "10 examples are too few"),
        (labelled([("a", f"label{n // 2}") for n in range(500)]), "more than 200 labels"),
    ],
)
def test_examples_that_nothing_can_be_learned_from_are_an_error(examples, message):
    with pytest.raises(UserError) as error:
        divide(examples, ["text"])
    assert message in str(error.value)
    assert "\n" not in str(error.value)
