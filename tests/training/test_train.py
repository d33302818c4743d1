import io
import json
import math
import os
import random
import subprocess
import sys
from functools import cache
from itertools import count

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, Pipeline

from loomgit.domain.training import LabelledExample
from loomgit.errors import UserError
from loomgit.training import fitting
from loomgit.training.corpus import divide
from loomgit.training.text_classifier import TERMS, TextClassifier, text_of
from loomgit.training.train import train_text_classifier
from tests.training.generated import BOTH, HAM, SPAM, message, messages

FILES = ["model.json", "program.py", "weights.npy"]


def train(examples, *fields):
    return train_text_classifier(examples, fields=fields or ["text"])


def classifier_of(program):
    return TextClassifier(program.files["model.json"], program.files["weights.npy"])


@cache
def trained():
    return train(messages(700))


def save(program, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in program.files.items():
        (folder / name).write_bytes(content)
    return folder


def test_the_report_is_about_the_examples_that_training_never_saw():
    program, corpus = trained(), divide(messages(700), ["text"])
    report, classifier = program.report, classifier_of(program)
    outputs = [classifier.classify({"text": each.values[0]})["result"] for each in corpus.held_out]
    truth = [corpus.labels[at] for at in corpus.held_out_labels]
    pairs = list(zip(truth, outputs, strict=True))
    assert report.held_out == len(pairs)
    assert report.training + report.held_out == report.examples == 700
    assert report.correct == sum(label == output for label, output in pairs)
    assert report.accuracy == report.correct / report.held_out
    assert report.accuracy_low < report.accuracy <= report.accuracy_high
    names = [each.label for each in report.labels]
    for row, label in zip(report.confusion, names, strict=True):
        assert row == tuple(pairs.count((label, output)) for output in names)
    for each in report.labels:
        assert each.held_out == truth.count(each.label)
        assert each.recall == pairs.count((each.label, each.label)) / truth.count(each.label)
        assert each.precision == pairs.count((each.label, each.label)) / outputs.count(each.label)
    assert report.accuracy > 0.97


def test_the_report_has_the_size_and_the_latency_of_one_execution():
    ticks = count()
    program = train_text_classifier(messages(100), fields=["text"], clock=lambda: next(ticks) * 0.5)
    assert program.report.latency_p50 == program.report.latency_p99 == 0.5
    assert program.report.size == sum(map(len, program.files.values())) <= 2_000_000
    assert json.loads(json.dumps(program.report.document()))["labels"][0]["label"] == "ham"


def test_the_program_runs_without_loom_and_without_numpy(tmp_path):
    folder = save(trained(), tmp_path / "ü v1")
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); import program\n"
        "output = program.execute({'text': 'Free prize! Call 09061701461', 'other': 1})\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "print(json.dumps([output, sorted(loaded & {'numpy', 'sklearn', 'loomgit', 'pickle'})]))"
    )
    process = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(folder)],
        capture_output=True,
        text=True,
        check=True,
    )
    output, loaded = json.loads(process.stdout)
    assert sorted(program for program in trained().files) == FILES
    assert loaded == []
    assert output["result"] == "spam"
    assert 0.9 < output["confidence"] <= 1
    assert output["reason"].startswith("strongest terms: '")


def test_the_reason_names_terms_of_the_input_that_favour_the_label():
    reasons = classifier_of(trained()).classify({"text": "Claim your prize, winner!"})["reason"]
    assert any(f"'{word}" in reasons for word in ("claim", "prize", "winner"))
    assert "in text" not in reasons
    empty = classifier_of(trained()).classify({"text": "ŋ"})
    assert "'ŋ'" not in empty["reason"]


def pipeline_of(program, examples):
    """A scikit-learn pipeline with the terms and weights of the program; idf is fitted again."""
    model = json.loads(program.files["model.json"])
    blocks = [
        (
            f"{block['field']} {block['kind']}",
            TfidfVectorizer(
                analyzer=lambda each, block=block: TERMS[block["kind"]](
                    text_of(each[block["field"]])
                ),
                vocabulary=block["terms"],
                sublinear_tf=True,
            ),
        )
        for block in model["blocks"]
    ]
    corpus = divide(examples, list(program.metadata["fields"]))
    union = FeatureUnion(blocks)
    union.fit(corpus.inputs(corpus.training))
    for (_, vectorizer), block in zip(union.transformer_list, model["blocks"], strict=True):
        assert vectorizer.idf_ == pytest.approx(block["idf"], abs=6e-5)
        vectorizer.idf_ = np.array(block["idf"])
    regression = LogisticRegression()
    terms = sum(len(block["terms"]) for block in model["blocks"])
    weights = np.load(io.BytesIO(program.files["weights.npy"]), allow_pickle=False)
    assert weights.shape[1] == terms
    regression.classes_ = np.arange(len(model["labels"]))
    regression.coef_ = weights * model["scale"]
    regression.intercept_ = np.array(model["intercepts"])
    pipeline = Pipeline([("terms", union), ("regression", regression)])
    return pipeline, corpus


def three_labels(number):
    rng = random.Random(5)
    topics = [SPAM, HAM, ["goal", "match", "team", "player", "score", "coach", "league", "season"]]
    return [
        LabelledExample(
            {"subject": message(rng, topics[n % 3]), "body": message(rng, topics[n % 3]) * 3}, n % 3
        )
        for n in range(number)
    ]


@pytest.mark.parametrize(
    ("examples", "fields"),
    [(messages(700), ["text"]), (three_labels(600), ["subject", "body"])],
    ids=["two labels", "three labels, two fields"],
)
def test_the_program_agrees_with_the_pipeline_of_scikit_learn(examples, fields):
    program = train(examples, *fields)
    pipeline, corpus = pipeline_of(program, examples)
    inputs = corpus.inputs(corpus.held_out)
    inputs += [dict.fromkeys(fields, text) for text in ("", "ŋ", "Free " * 50, "你好")]
    classifier = classifier_of(program)
    expected = pipeline.predict_proba(inputs)
    found = np.array([classifier.probabilities(each) for each in inputs])
    assert np.abs(found - expected).max() < 1e-6
    results = [classifier.classify(each)["result"] for each in inputs]
    assert results == [corpus.labels[at] for at in pipeline.predict(inputs)]


def test_the_weights_are_the_fitted_ones_to_four_digits():
    corpus = divide(messages(700), ["text"])
    model = fitting.fit_corpus(corpus)
    values = fitting.weigh(model.counts, model.idf)
    fitted = fitting._regression(values, np.array(corpus.training_labels), model.settings)
    exact = fitted.coef_ / model.settings.temperature
    assert np.abs(model.weights * model.scale - exact).max() <= model.scale / 2
    assert model.scale <= np.abs(exact).max() / 16383


def test_equal_examples_in_any_order_give_equal_files():
    examples = messages(400)
    first = train(examples)
    second = train(iter(random.Random(2).sample(examples, len(examples))))
    assert first.files == second.files
    assert first.metadata == second.metadata


def test_the_files_do_not_depend_on_the_process_and_its_processor(tmp_path):
    code = (
        "import sys, hashlib; from tests.training.test_train import *\n"
        "files = train(messages(400)).files\n"
        "print(hashlib.sha256(b''.join(files[name] for name in FILES)).hexdigest())"
    )
    digests = set()
    for seed, kernel, threads in (("1", "Prescott", "1"), ("2", "Haswell", "2")):
        environment = os.environ | {
            "PYTHONHASHSEED": seed,
            "OPENBLAS_CORETYPE": kernel,
            "OPENBLAS_NUM_THREADS": threads,
            "OMP_NUM_THREADS": threads,
            "LC_ALL": "C.UTF-8",  # Python reads the path of the project in it
        }
        process = subprocess.run(
            [sys.executable, "-c", code],
            check=False,
            capture_output=True,
            text=True,
            env=environment,
        )
        assert process.returncode == 0, process.stderr
        digests.add(process.stdout)
    assert len(digests) == 1


def test_a_number_field_decides_where_the_text_does_not():
    rng = random.Random(8)
    examples = []
    for number in range(600):
        price = rng.choice([None, rng.uniform(0, 100)])
        label = "none" if price is None else "high" if price > 50 else "low"
        text = message(rng, BOTH)
        examples.append(LabelledExample({"text": text, "price": price, "id": number}, label))
    program = train(examples, "text", "price")
    assert program.report.accuracy > 0.9
    classify = classifier_of(program).classify
    assert classify({"text": "you and me", "price": 99})["result"] == "high"
    assert classify({"text": "you and me", "price": "7.5"})["result"] == "low"
    assert classify({"text": "you and me"})["result"] == "none"
    assert "in price" in classify({"text": "", "price": 99})["reason"]


def test_a_number_that_no_training_example_lacked_may_be_missing():
    examples = [
        LabelledExample(each.input | {"n": at % 7}, each.label)
        for at, each in enumerate(messages(200))
    ]
    classify = classifier_of(train(examples, "text", "n")).classify
    for value in (None, "", "x", -1, 99, True):
        assert classify({"text": "free prize claim", "n": value})["result"] == "spam"


@pytest.mark.parametrize(
    "labels",
    [[True, False], [1, 2, 3], [0.5, 1.5], ['"', "a\nb", "ü", "<x>"], ["\ud800", "x"], [1, True]],
    ids=str,
)
def test_a_program_returns_labels_of_any_scalar_type(labels, tmp_path):
    rng = random.Random(4)
    topics = [SPAM, HAM, ["goal", "match", "team", "player"], ["paris", "london", "tokyo"]]
    examples = [
        LabelledExample({"text": message(rng, topics[n % len(labels)])}, labels[n % len(labels)])
        for n in range(240)
    ]
    program = train(examples)
    assert program.report.accuracy > 0.9
    results = {repr(classifier_of(program).classify(each.input)["result"]) for each in examples}
    assert results == {repr(label) for label in labels}


def test_texts_of_any_script_and_length_are_classified():
    rng = random.Random(6)
    words = {
        "de": ["schön", "Grüße", "über", "Straße", "heiß", "möchte"],
        "zh": ["你好", "谢谢", "今天", "明天", "朋友", "学习"],
        "ar": ["مرحبا", "شكرا", "اليوم", "صديق", "كتاب"],
        "hi": ["नमस्ते", "धन्यवाद", "आज", "दोस्त", "किताब"],
    }
    examples = []
    for number in range(400):
        label = list(words)[number % 4]
        joint = "" if label == "zh" else " "
        size = rng.choice([1, 2, 5, 300])
        text = joint.join(rng.choice(words[label]) for _ in range(size))
        examples.append(LabelledExample({"text": f"{text} {number}" if size == 1 else text}, label))
    program = train(examples)
    assert program.report.accuracy > 0.97
    classify = classifier_of(program).classify
    for text in ("", " ", "\x00", "\ud800", "a" * 1_000_000, "1" * 9, None, 7, True):
        output = classify({"text": text})
        assert output["result"] in words
        assert 0 < output["confidence"] <= 1
    assert classify("Grüße")["result"] == classify({"text": "Grüße"})["result"] == "de"
    assert classify({})["result"] in words


def test_a_rare_label_is_found():
    rng = random.Random(9)
    rare = [LabelledExample({"text": message(rng, SPAM)}, "rare") for _ in range(40)]
    usual = [LabelledExample({"text": message(rng, HAM)}, "usual") for _ in range(2000)]
    figures = {each.label: each for each in train(rare + usual).report.labels}
    assert figures["rare"].recall > 0.7
    assert figures["usual"].recall > 0.99


@pytest.mark.parametrize("number", [4, 6, 12, 30])
def test_a_few_examples_are_enough_to_train(number):
    half = [messages(number // 2, spam_rate=rate, seed=number) for rate in (0, 1)]
    examples = half[0] + half[1]
    program = train(examples)
    assert program.report.training + program.report.held_out == number
    assert math.isclose(sum(classifier_of(program).probabilities(examples[0].input)), 1)


def test_many_labels_stay_within_the_size():
    rng = random.Random(2)
    vocabulary = ["".join(rng.choices("abcdefghijklmnop", k=6)) for _ in range(3000)]
    examples = [
        LabelledExample({"text": " ".join(rng.choices(vocabulary[n % 60 :: 60], k=12))}, n % 60)
        for n in range(1800)
    ]
    program = train(examples)
    assert program.report.size <= 2_000_000
    assert program.report.accuracy > 0.9


def test_a_missing_scikit_learn_is_one_line_with_the_command():
    code = (
        "import sys; sys.modules['sklearn'] = None\n"
        "from loomgit.training.train import train_text_classifier\n"
        "train_text_classifier([], fields=['text'])"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True
    )
    line = process.stderr.splitlines()[-1]
    assert line.endswith("training a classifier needs scikit-learn: pip install 'loom-aietl[ml]'")
    assert "UserError" in line


def test_examples_are_checked_before_training():
    with pytest.raises(UserError, match=r"^data\.csv:4: the label is empty$"):
        train([*messages(2), LabelledExample({"text": "x"}, None, "data.csv:4")])
