import asyncio

import pytest

from loomgit.domain.definitions import EvaluatorSpec
from loomgit.domain.records import EvaluationInput, EvaluatorFailure
from loomgit.errors import UserError
from loomgit.evaluators.kinds import JUDGED, needs_judge
from loomgit.evaluators.registry import DETERMINISTIC, build_evaluator


class NoGateway:
    async def complete(self, request):
        raise AssertionError("no model was to be called")

    async def close(self):
        pass


def make(tmp_path, type_, *, judge=None, criteria=None, **config):
    spec = EvaluatorSpec("mine", type_, criteria=criteria, config=config)
    return build_evaluator(spec, judge=judge, gateway=NoGateway(), root=tmp_path)


def score(evaluator, output="x", record=None):
    return asyncio.run(evaluator.score(EvaluationInput(record or {}, output)))


def fault(tmp_path, type_, **more):
    with pytest.raises(UserError) as caught:
        make(tmp_path, type_, **more)
    assert caught.value.message.startswith("evaluator 'mine': ")
    assert "\n" not in caught.value.message
    return caught.value


def write(tmp_path, text):
    (tmp_path / "evals").mkdir(exist_ok=True)
    (tmp_path / "evals" / "mine.py").write_text(text)
    return "evals/mine.py:judge"


def test_an_unknown_type_is_named_with_the_nearest(tmp_path):
    found = fault(tmp_path, "sematic")
    assert "unknown type 'sematic'" in found.message
    assert found.hint == "did you mean 'semantic'?"
    assert "exact_match" in fault(tmp_path, "zzzzzzzz").hint


@pytest.mark.parametrize("type_", sorted(JUDGED))
def test_a_judged_type_wants_a_judge(tmp_path, type_):
    found = fault(tmp_path, type_, criteria="good")
    assert "needs a judge model" in found.message
    assert "judge_model" in found.hint
    make(tmp_path, type_, judge="gpt-4o-mini", criteria="good")


def test_which_evaluators_ask_a_model_is_known_beforehand():
    assert all(needs_judge(EvaluatorSpec(type_, type_)) for type_ in JUDGED)
    assert not any(needs_judge(EvaluatorSpec(type_, type_)) for type_ in DETERMINISTIC)
    assert not needs_judge(EvaluatorSpec("s", "semantic", config={"backend": "lexical"}))


def test_custom_criteria_wants_criteria(tmp_path):
    assert "needs criteria" in fault(tmp_path, "custom_criteria", judge="m").message


def test_an_empty_reference_is_no_reference(tmp_path):
    assert "reference is empty" in fault(tmp_path, "groundedness", judge="m", reference="").message


def test_semantic_without_a_judge_is_lexical_and_says_so(tmp_path):
    evaluator = make(tmp_path, "semantic", backend="lexical")
    found = score(evaluator, "The Cat, sat!", {"expected": "sat the cat"})
    assert found.value == 1.0
    assert found.reason == "lexical similarity 1.00: 'The Cat, sat!' ~ 'sat the cat'"
    assert found.judge is None
    assert score(evaluator, "dogs bark", {"expected": "sat the cat"}).value < 0.5


def test_a_backend_that_is_not_there_is_a_fault(tmp_path):
    assert "judge, lexical" in fault(tmp_path, "semantic", judge="m", backend="embedding").hint


def test_a_users_function_judges(tmp_path):
    text = "def judge(output, record):\n    return 0.25 if output['a'] == record['b'] else 1"
    evaluator = make(tmp_path, write(tmp_path, text))
    found = score(evaluator, {"a": 1}, {"b": 1})
    assert (found.value, found.reason) == (0.25, "evals/mine.py:judge returned 0.25")
    assert score(evaluator, {"a": 1}, {"b": 2}).value == 1.0


def test_a_users_function_may_wait_and_give_a_reason(tmp_path):
    text = (
        "import asyncio\nasync def judge(output, record):\n"
        "    await asyncio.sleep(0)\n    return True, 'fine'"
    )
    found = score(make(tmp_path, write(tmp_path, text)))
    assert (found.value, found.reason, found.judge) == (1.0, "fine", None)


def test_a_users_function_may_import_from_the_project(tmp_path):
    (tmp_path / "house_rules.py").write_text("LIMIT = 0.5")
    text = "from house_rules import LIMIT\ndef judge(output, record):\n    return LIMIT"
    assert score(make(tmp_path, write(tmp_path, text))).value == 0.5


def test_a_users_function_cannot_change_what_is_loaded(tmp_path):
    text = "def judge(output, record):\n    output['a'].clear(); record['b'].clear(); return 1"
    output, record = {"a": [1]}, {"b": [2]}
    score(make(tmp_path, write(tmp_path, text)), output, record)
    assert (output, record) == ({"a": [1]}, {"b": [2]})


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return record['gold']", "evals/mine.py:judge:2: KeyError: 'gold'"),
        ("return 1.5", "evals/mine.py:judge returned 1.5; a score must be in [0, 1]"),
        ("return float('nan')", "returned nan"),
        ("return 'good'", "returned str; it must return a number"),
        ("return 1, 2", "returned tuple; it must return a number"),
        ("return None", "returned NoneType"),
        ("raise SystemError('a\\nb')", "evals/mine.py:judge:2: SystemError: a b"),
    ],
)
def test_whatever_goes_wrong_in_a_users_function_is_a_failure_of_it(tmp_path, body, words):
    text = f"def judge(output, record):\n    {body}"
    with pytest.raises(EvaluatorFailure) as caught:
        score(make(tmp_path, write(tmp_path, text)))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_faults_of_a_users_file_are_named_when_it_is_loaded(tmp_path):
    assert "nowhere.py: no such file" in fault(tmp_path, "nowhere.py:judge").message
    type_ = write(tmp_path, "import nothing_like_this\n")
    assert "evals/mine.py:1: ModuleNotFoundError" in fault(tmp_path, type_).message
    write(tmp_path, "x = 1\ndef judge(:\n")
    assert "evals/mine.py:2: SyntaxError: invalid syntax" in fault(tmp_path, type_).message
    write(tmp_path, "def jugde(output, record):\n    return 1\n")
    found = fault(tmp_path, type_)
    assert "evals/mine.py has no function judge" in found.message
    assert found.hint == "did you mean 'jugde'?"
    write(tmp_path, "def judge(output):\n    return 1\n")
    found = fault(tmp_path, type_)
    assert "too many positional arguments" in found.message
    assert found.hint == "Loom calls it as function(output, record)"


def test_a_users_file_is_a_file_of_the_project(tmp_path):
    outside = tmp_path / "mine.py"
    outside.write_text("def judge(output, record):\n    return 1\n")
    (tmp_path / "project").mkdir()
    assert "outside the project" in fault(tmp_path / "project", "../mine.py:judge").message


def test_packages_may_offer_evaluators(tmp_path, monkeypatch):
    package = tmp_path / "loom_politeness-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: loom-politeness\nVersion: 1.0\n"
    )
    (package / "entry_points.txt").write_text(
        "[loomgit.evaluators]\npoliteness = loom_politeness:judge\nbroken = loom_politeness:gone\n"
    )
    (tmp_path / "loom_politeness.py").write_text(
        "def judge(output, record):\n    return 0.75, 'kind'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = score(make(tmp_path, "politeness"))
    assert (found.value, found.reason) == (0.75, "kind")
    assert fault(tmp_path, "politenes").hint == "did you mean 'politeness'?"
    assert "loom_politeness:gone" in fault(tmp_path, "broken").message
