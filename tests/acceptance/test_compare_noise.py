"""What noise alone does: the baseline against itself, and a real loss every time."""

from collections import Counter

import pytest

from loomgit.api import Project
from loomgit.errors import ProblemsFound
from tests.comparisons import SUITE, WORSE, copy_project, make_comparable, reviews, with_transform
from tests.projects import TAXONOMY
from tests.repos import commit, git
from tests.soak import sized

# Comparisons, and the most of them that may block: 5 % do on average. More than 6 of 40 block once
# in 290 such trials, more than 18 of 200 once in 170.
TIMES, MOST = sized((40, 6), (200, 18))
SAMPLES = 2


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A hot model that is not sure: half of the reviews have a word for either label."""
    lines = reviews(26).splitlines()
    mixed = [line.replace(" is ", " is great or bad and in short ") for line in lines[1::2]]
    suite = SUITE.partition("unit_tests")[0] + SUITE.partition("distributional_tests")[2].join(
        ["distributional_tests", f"defaults: {{samples: {SAMPLES}}}\n"]
    )
    folder = make_comparable(
        tmp_path_factory.mktemp("noise") / "project",
        **{
            "pipelines/demo.yaml": with_transform("temperature: 1.0"),
            "data/reviews.csv": "\n".join([lines[0], *lines[2::2], *mixed]) + "\n",
            "tests/demo_test.yaml": suite,
        },
    )
    git(folder, "checkout", "--quiet", "-b", "feature")
    return folder


@pytest.fixture
def project(template, tmp_path):
    return copy_project(template, tmp_path / "project")


def test_noise_alone_blocks_as_seldom_as_promised(project):
    whole = Project(project, warn=pytest.fail)
    outcomes, means = Counter(), set()
    for number in range(TIMES):
        found = whole.compare(expression="main", aa=True, aa_from=2 * SAMPLES * number)
        outcomes[found.outcome] += 1
        means.add(found.pipelines[0].metrics[0].base)
    assert outcomes["degraded"] <= MOST, outcomes
    assert outcomes["degraded"] > 0  # there is noise, and the gate looks at it
    assert len(means) > 5
    assert whole.runs() == []  # nothing of it is kept, nothing reused


def test_a_lost_taxonomy_is_blocked_every_time(project):
    whole = Project(project, warn=pytest.fail)
    for number in range(10):
        text = TAXONOMY.replace("### ", "#### ") if number else TAXONOMY
        commit(project, {"context/taxonomy.md": text + "\n" * number})
        base = git(project, "rev-parse", "HEAD")
        commit(project, {"context/taxonomy.md": WORSE["context/taxonomy.md"] + "\n" * number})
        found = whole.compare(expression=f"{base}..HEAD", run_missing=True)
        assert found.outcome == "degraded", number


def test_samples_from_another_index_on_are_other_samples(project):
    whole = Project(project)

    def scores(first):
        found = whole.compare(expression="main", aa=True, aa_from=first).pipelines[0]
        return found.metrics[0].base, found.metrics[0].head

    assert scores(0) == scores(0)
    assert scores(0)[1] == scores(SAMPLES)[0]
    assert scores(0) != scores(1000)


def test_a_prompt_that_cannot_be_filled_in_stops_it(project):
    git(project, "checkout", "--quiet", "-b", "broken", "main")
    commit(project, {"prompts/classify.txt": "{{ input.nope }}"})
    with pytest.raises(ProblemsFound, match=r"input\.nope"):
        Project(project).compare(expression="HEAD", aa=True)
