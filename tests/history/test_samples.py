"""Samples as lines of a records file, and back."""

import orjson
from hypothesis import given
from hypothesis import strategies as st

from loomgit.domain.models import Usage
from loomgit.domain.samples import CaseSamples, Judgement, Sample
from loomgit.history.samples import from_object, load_samples, to_line

texts = st.text(st.characters(codec="utf-8"), max_size=20)
numbers = st.floats(0, 1) | st.none()
judgements = st.builds(Judgement, numbers, texts, st.none() | texts, st.booleans(), numbers)
samples = st.builds(
    Sample,
    index=st.integers(0, 9),
    output=st.dictionaries(texts, texts | st.integers(-9, 9) | st.none()),
    text=texts,
    model=texts,
    judgements=st.dictionaries(texts, judgements, max_size=3),
    score=numbers,
    passed=st.booleans(),
    trouble=st.sampled_from(["", "product"]),
    failure=texts,
    usage=st.builds(Usage, st.integers(0, 99), st.integers(0, 99), st.integers(0, 99)),
    cost=numbers,
    judge_cost=numbers,
    latency=numbers,
    calls=st.integers(0, 9),
    cached=st.booleans(),
)


def case(key="k", *drawn):
    return CaseSamples("r-1", key, "def", {"review": "x"}, drawn)


def sample(index=0, **changes):
    return Sample(index, {"a": 1}, "text", "model", **changes)


@given(samples)
def test_a_line_gives_back_its_sample(one):
    line = orjson.loads(orjson.dumps(to_line(case(), one)))
    assert from_object(line) == one
    assert (line["id"], line["key"], line["def"]) == ("r-1", "k", "def")


def test_samples_are_found_by_key_and_index(tmp_path):
    new, old = tmp_path / "new.jsonl", tmp_path / "old.jsonl"
    write(new, to_line(case("a"), sample(0)))
    write(
        old,
        to_line(case("a"), sample(0, score=0.5)),
        to_line(case("a"), sample(1)),
        to_line(case("b"), sample(0)),
    )
    found = load_samples([new, old], {"a"})
    assert found == {"a": {0: sample(0), 1: sample(1)}}


def test_what_was_lost_is_asked_again(tmp_path):
    file = tmp_path / "x.jsonl"
    troubles = ("infrastructure", "unrecorded", "product")
    write(file, *(to_line(case(), sample(n, trouble=t)) for n, t in enumerate(troubles)))
    assert load_samples([file], {"k"})["k"].keys() == {2}


def test_lines_that_cannot_be_read_are_left_out(tmp_path):
    file = tmp_path / "x.jsonl"
    good = to_line(case(), sample(3))
    file.write_bytes(
        b'{"key": "k"}\nnot json\n[1]\n"k"\n{"key": "k", "judgements": 1, "usage": {}}\n'
        b'{"other": 1}\n\n' + orjson.dumps(good) + b'\n{"key": "k", "cut'
    )
    assert load_samples([tmp_path / "absent.jsonl", file], {"k"}) == {"k": {3: sample(3)}}


def write(file, *lines):
    file.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
