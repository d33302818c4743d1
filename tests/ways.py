"""Ways to make a bad prompt look good: what each changes, and the line that names it.

Every way makes the prompt of the project in `tests.comparisons` worse, and hides that. The base is
the branch `main`, the change is one commit on the branch `change`.
"""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from tests.comparisons import SUITE, WORSE, make_comparable, reviews
from tests.projects import PIPELINE, PROMPT, TAXONOMY
from tests.repos import commit, git, make

Files = dict[str, str]
BROKEN = {"prompts/classify.txt": "Review: {{ input.review }}\n\nSay anything.\n"}
NO_CUES = "There are two kinds of reviews.\n"
GUARDED = SUITE + "  - {name: as_before, type: regression}\n"
FAULTY = "name: demo\npipeline: demo\nnope: 1\n"
OTHER = PIPELINE.replace("name: demo", "name: other")
INCLUDING = PROMPT.replace("{{ context.taxonomy }}", "{% include 'prompts/cues.txt' %}")
SUITE_FILE, PIPELINE_FILE, DATA = "tests/demo_test.yaml", "pipelines/demo.yaml", "data/reviews.csv"
GUARD = {SUITE_FILE: GUARDED}

# An evaluator of the project's own, which uses a module that uses a list of words.
OWN = PIPELINE.replace("type: exact_match", "type: checks/own.py:score").replace(
    "      config: {field: sentiment, reference_field: expected}\n", ""
)
OWN_FILES = {
    PIPELINE_FILE: OWN,
    "checks/own.py": (
        "from checks.rules import right\n\n\n"
        "def score(output, record):\n"
        "    return 1.0 if right(output['sentiment'], record['expected']) else 0.0\n"
    ),
    "checks/rules.py": (
        "from pathlib import Path\n\nfrom checks.texts import same\n\n"
        "ALSO = (Path(__file__).parent / 'also.txt').read_text().split()\n\n\n"
        "def right(given, expected):\n"
        "    return same(given, expected) or given in ALSO\n"
    ),
    "checks/texts.py": "def same(one, two):\n    return one == two\n",
    "checks/also.txt": "none\n",
    **GUARD,
}
SILENT = (
    "def score(output, record):\n"
    "    if output['sentiment'] == record['expected']:\n        return 1.0\n    {}\n"
)
TWO = PIPELINE.replace(
    "  quality_gate", "    - {name: short, type: length, config: {max: 9999}}\n  quality_gate"
)


def nothing(_: Path) -> None:
    pass


@dataclass(frozen=True)
class Way:
    """`base` are files of the base and `change` files of the change; `prepare` and `alter` do more
    to each. `said` is part of the line that names what happened."""

    said: str
    change: Files = field(default_factory=dict)
    base: Files = field(default_factory=lambda: dict(GUARD))
    prepare: Callable[[Path], object] = nothing
    alter: Callable[[Path], object] = nothing
    message: str = "Change"

    def make(self, folder: Path) -> Path:
        """The project on the branch `change`, one commit after `main`."""
        project = make_comparable(folder, **{**GUARD, **self.base})
        self.prepare(project)
        commit(project, {}, "Prepare")
        git(project, "checkout", "--quiet", "-b", "change")
        self.alter(project)
        commit(project, self.change, self.message)
        return project


def link(project: Path, name: str, target: str) -> None:
    path = project / name
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def link_folder(project: Path, name: str, real: str) -> None:
    (project / name).rename(project / real)
    (project / name).symlink_to(real)


def link_context(project: Path) -> None:
    link_folder(project, "context", "elsewhere")


def ignore_context(project: Path) -> None:
    git(project, "rm", "--quiet", "--cached", "context/taxonomy.md")
    commit(project, {".gitignore": "/out/\n/context/\n"})


def submodule(project: Path) -> None:
    """The context is in a submodule."""
    source = make(project.parent / "contexts")
    commit(source, {"taxonomy.md": TAXONOMY})
    git(project, "rm", "--quiet", "-r", "context")
    allowed = ("-c", "protocol.file.allow=always")
    git(project, *allowed, "submodule", "--quiet", "add", str(source), "context")
    commit(project, {})


def move_submodule(project: Path) -> None:
    commit(project / "context", {"taxonomy.md": NO_CUES})
    commit(project, {})


def remove(*paths: str) -> Callable[[Path], object]:
    return lambda project: git(project, "rm", "--quiet", "-r", *paths)


def fill(project: Path, rows: int) -> None:
    """A database with the first reviews."""
    lines = [line.split(",") for line in reviews(rows).splitlines()[1:]]
    with closing(sqlite3.connect(project / "data/r.db")) as database, database:
        database.execute("drop table if exists r")
        database.execute("create table r (review_id, review, expected)")
        database.executemany("insert into r values (?, ?, ?)", lines)


def tag_worse(project: Path) -> None:
    """A version of prompt and context that is bad, with a tag; then the good one again."""
    commit(project, {**BROKEN, **WORSE}, "Worse")
    git(project, "tag", "v0")
    commit(project, {"prompts/classify.txt": PROMPT, "context/taxonomy.md": TAXONOMY}, "Back")


def pipeline(old: str, new: str, text: str = PIPELINE) -> Files:
    assert old in text
    return {PIPELINE_FILE: text.replace(old, new)}


def suite(old: str, new: str, text: str = GUARDED) -> Files:
    assert old in text
    return {SUITE_FILE: text.replace(old, new)}


def test_of(line: str) -> Files:
    """The test file with one more distributional test, or other lines."""
    return {SUITE_FILE: GUARDED + line}


def swap(text: str) -> str:
    return text.replace("positive", "@").replace("negative", "positive").replace("@", "negative")


def without_failing(text: str) -> str:
    """The reviews without those that a model without cues gets wrong, as far as 10 % allow."""
    lines = text.splitlines()
    failing = [line for line in lines if line.endswith("positive")][:5]
    return "\n".join(line for line in lines if line not in failing) + "\n"


FEW_WORSE = {"context/taxonomy.md": TAXONOMY.replace("bad, broken, hate", "bad, broken")}

WAYS = {
    # -- the files that a prompt is made of
    "prompt": Way("Degraded: demo", BROKEN),
    "context": Way("Degraded: demo", WORSE),
    "context that is removed": Way("taxonomy.md", alter=remove("context/taxonomy.md")),
    "context of a glob": Way(
        "context/*.md", WORSE, pipeline("[context/taxonomy.md]", "[context/*.md]")
    ),
    "file behind a symbolic link": Way(
        "Degraded: demo", {"elsewhere/cues.md": NO_CUES}, {"elsewhere/cues.md": TAXONOMY},
        lambda project: link(project, "context/taxonomy.md", "../elsewhere/cues.md"),
    ),
    "symbolic link": Way(
        "Degraded: demo", {},
        {"elsewhere/cues.md": TAXONOMY, "elsewhere/none.md": NO_CUES},
        lambda project: link(project, "context/taxonomy.md", "../elsewhere/cues.md"),
        lambda project: link(project, "context/taxonomy.md", "../elsewhere/none.md"),
    ),
    "included template": Way(
        "Degraded: demo", {"prompts/cues.txt": NO_CUES},
        {"prompts/classify.txt": INCLUDING, "prompts/cues.txt": TAXONOMY},
    ),
    "other context in the pipeline": Way(
        "Degraded: demo", pipeline("context/tax", "context/other/tax"),
        {"context/other/taxonomy.md": NO_CUES},
    ),
    "template with a computed name": Way(
        "Degraded: demo", {"prompts/cues.txt": NO_CUES},
        {"prompts/cues.txt": TAXONOMY, "prompts/classify.txt": PROMPT.replace(
            "{{ context.taxonomy }}", "{% set f = 'prompts/c' ~ 'ues.txt' %}{% include f %}")},
    ),
    "template of a list": Way(
        "Degraded: demo", {"prompts/cues.txt": NO_CUES},
        {"prompts/cues.txt": TAXONOMY, "prompts/classify.txt": PROMPT.replace(
            "{{ context.taxonomy }}", "{% include ['prompts/cues.txt'] %}")},
    ),
    "renamed prompt": Way(
        "Degraded: demo",
        {**pipeline("classify.txt", "other.txt"),
         "prompts/other.txt": BROKEN["prompts/classify.txt"]},
    ),
    "prompt that is pinned to a worse version": Way(
        "Degraded: demo", pipeline("  context:", "  prompt_version: v0\n  context:"),
        prepare=tag_worse,
    ),
    "context that is pinned to a worse version": Way(
        "Degraded: demo",
        pipeline("[context/taxonomy.md]", "[context/taxonomy.md@v0]"),
        prepare=tag_worse,
    ),
    "prompt that is pinned to a branch": Way(
        "prompt_version: main is not a fixed version",
        {**pipeline("  context:", "  prompt_version: main\n  context:"), **BROKEN},
    ),
    "context that is pinned to a branch": Way(
        "context.0: main is not a fixed version", WORSE,
        pipeline("[context/taxonomy.md]", "[context/taxonomy.md@main]"),
    ),
    "folder behind a symbolic link": Way(
        "Degraded: demo", {"elsewhere/taxonomy.md": NO_CUES}, {},
        link_context,
    ),
    "pipelines behind a symbolic link": Way(
        "Degraded: demo", {"context/taxonomy.md": NO_CUES}, {},
        lambda project: link_folder(project, "pipelines", "definitions"),
    ),
    "prompt beside a context that Git ignores": Way(
        "context/taxonomy.md does not exist", BROKEN, prepare=ignore_context
    ),
    "prompt beside a context in a submodule": Way(
        "context/taxonomy.md does not exist", BROKEN, prepare=submodule
    ),
    "submodule": Way(
        "context/taxonomy.md does not exist", prepare=submodule, alter=move_submodule
    ),
    "model that cannot be asked": Way(
        "unverified", {".loom/config.yaml": "defaults: {model: openai/none}\n", **WORSE}
    ),
    "syntax of the pipeline": Way("nope", {PIPELINE_FILE: FAULTY, **WORSE}),
    "syntax of the tests": Way("nope", {SUITE_FILE: FAULTY, **WORSE}),
    "pipeline that is removed": Way(
        "demo: the pipeline is gone", {}, {"pipelines/other.yaml": OTHER},
        alter=remove(PIPELINE_FILE, "tests"),
    ),
    "pipeline that is renamed": Way(
        "demo: the pipeline is gone",
        {**BROKEN, SUITE_FILE: GUARDED.replace("demo", "renamed"),
         "pipelines/renamed.yaml": PIPELINE.replace("name: demo", "name: renamed")},
        {"pipelines/other.yaml": OTHER},
        alter=lambda project: git(project, "mv", PIPELINE_FILE, "pipelines/renamed.yaml"),
    ),
    # -- what judges
    "evaluator": Way(
        "code.checks/own.py", {"checks/own.py": "def score(output, record):\n    return 1.0\n",
                               **WORSE}, OWN_FILES,
    ),
    "module of an evaluator": Way(
        "code.checks/rules.py",
        {"checks/rules.py": "def right(given, expected):\n    return True\n", **WORSE}, OWN_FILES,
    ),
    "module of a module": Way(
        "code.checks/texts.py",
        {"checks/texts.py": "def same(one, two):\n    return True\n", **WORSE}, OWN_FILES,
    ),
    "file that an evaluator reads": Way(
        "code.checks/also.txt", {"checks/also.txt": "positive negative\n", **WORSE}, OWN_FILES
    ),
    "file that an evaluator reads above its own folder": Way(
        "code.lists/also.txt", {"lists/also.txt": "positive negative\n", **WORSE},
        {**OWN_FILES, "lists/also.txt": "none\n",
         "checks/rules.py": OWN_FILES["checks/rules.py"].replace(
             "parent / 'also.txt'", "parent / '..' / 'lists' / 'also.txt'")},
    ),
    "package around a module": Way(
        "code.checks/__init__.py",
        {"checks/__init__.py": "import checks.texts\nchecks.texts.same = lambda *_: True\n",
         **WORSE}, OWN_FILES,
    ),
    "module in place of a library": Way(
        "code.colorsys.py", {"colorsys.py": "ONE_THIRD = 1.0\n", **WORSE},
        {**OWN_FILES, "checks/texts.py": (
            "import colorsys\n\n\ndef same(one, two):\n"
            "    return one == two or colorsys.ONE_THIRD == 1.0\n")},
    ),
    "evaluator of a hallucination test": Way(
        "the code of its evaluator has changed: checks/made_up.py",
        {"checks/made_up.py": "def score(output, record):\n    return 1.0\n", **WORSE},
        {SUITE_FILE: GUARDED + "  - {name: made_up, type: hallucination_rate, threshold: 0.3,\n"
                               "     evaluator: checks/made_up.py:score}\n",
         "checks/made_up.py": (
             "def score(output, record):\n"
             "    return float(output['sentiment'] == record['expected'])\n")},
    ),
    "evaluator that fails on bad replies": Way(
        "code.checks/own.py", {"checks/own.py": SILENT.format("raise ValueError"), **WORSE},
        OWN_FILES,
    ),
    "evaluator that has always failed on bad replies": Way(
        "have no score", WORSE,
        {**OWN_FILES, "checks/own.py": SILENT.format("raise ValueError")},
    ),
    "evaluator that returns nothing for bad replies": Way(
        "have no score", WORSE, {**OWN_FILES, "checks/own.py": SILENT.format("return None")},
    ),
    "evaluator that returns NaN for bad replies": Way(
        "have no score", WORSE,
        {**OWN_FILES, "checks/own.py": SILENT.format("return float('nan')")},
    ),
    "lax evaluator beside one that fails": Way(
        "have no score", WORSE,
        {**OWN_FILES, "checks/own.py": SILENT.format("return None"),
         **pipeline("  quality_gate",
                    "    - {name: short, type: length, config: {max: 9999}}\n  quality_gate", OWN)},
    ),
    "new evaluator that replaces a module of another one": Way(
        "code.checks/__init__.py: none", {
            "checks/__init__.py": "import checks.texts\nchecks.texts.same = lambda *_: True\n"
            "def fine(output, record):\n    return 1.0\n",
            **pipeline("  quality_gate",
                       "    - {name: extra, type: 'checks/__init__.py:fine'}\n  quality_gate", OWN),
            **WORSE}, OWN_FILES,
    ),
    "module beside the evaluator": Way(
        "code.checks/beside.py", {"checks/beside.py": "def right(*_):\n    return True\n", **WORSE},
        {**OWN_FILES, "checks/beside.py": "def right(one, two):\n    return one == two\n",
         "checks/own.py": "import sys\nfrom pathlib import Path\n\n"
         "sys.path.insert(0, str(Path(__file__).parent))\nfrom beside import right\n\n\n"
         "def score(output, record):\n"
         "    return 1.0 if right(output['sentiment'], record['expected']) else 0.0\n"},
    ),
    "lax evaluator under the same name": Way(
        "evaluators.label",
        {**pipeline("exact_match\n      config: {field: sentiment, reference_field: expected}",
                    "length\n      config: {max: 9999}"), **WORSE},
    ),
    "lax evaluator under another name": Way(
        "evaluators.label",
        {**pipeline("name: label\n      type: exact_match\n      config: {field: sentiment, "
                    "reference_field: expected}",
                    "name: short\n      type: length\n      config: {max: 9999}"), **WORSE},
    ),
    "evaluator that is removed": Way(
        "evaluators.label",
        {**pipeline("    - name: label\n      type: exact_match\n"
                    "      config: {field: sentiment, reference_field: expected}\n", "", TWO),
         **WORSE}, {**GUARD, PIPELINE_FILE: TWO},
    ),
    "evaluator that is asked about another field": Way(
        "evaluators.label.config",
        {**pipeline("field: sentiment, reference_field: expected",
                    "field: sentiment, reference_field: sentiment"),
         DATA: reviews().replace("expected", "sentiment").replace("positive", "negative"),
         **WORSE},
    ),
    # -- limits
    "threshold without a test file": Way(
        "label: threshold: 0.7 -> 0", {**pipeline("expected}", "expected, threshold: 0}"), **WORSE},
        prepare=remove(SUITE_FILE),
    ),
    "threshold": Way(
        "label: threshold: 0.7 -> 0", {
            **pipeline("expected}", "expected, threshold: 0}"), **WORSE},
        test_of('  - {name: passing, type: statistical, assertions: ["rate(passed) > 0.9"]}\n'),
    ),
    "gate": Way(
        "quality_gate: all_pass -> any_pass",
        {**pipeline("all_pass", "any_pass", TWO), **WORSE},
        {PIPELINE_FILE: TWO, **test_of(
            '  - {name: passing, type: statistical, assertions: ["rate(passed) > 0.9"]}\n')},
    ),
    "weights": Way(
        "label: weight: 1 -> 0.01",
        {**pipeline("type: exact_match", "type: exact_match\n      weight: 0.01", TWO), **WORSE},
        {**GUARD, PIPELINE_FILE: TWO},
    ),
    "max_drop of a test": Way(
        "as_before: max_drop: 0.02 -> 0.9",
        {**suite("type: regression", "type: regression, max_drop: 0.9"), **WORSE},
    ),
    "max_drop of all tests": Way(
        "max_drop: 0.02 -> 0.9", {SUITE_FILE: GUARDED + "defaults: {max_drop: 0.9}\n", **WORSE}
    ),
    "max_error_rate": Way(
        "max_error_rate: 0.05 -> 0.9",
        {SUITE_FILE: GUARDED + "defaults: {max_error_rate: 0.9}\n", **WORSE},
        {**OWN_FILES, "checks/own.py": SILENT.format("raise ValueError")},
    ),
    "sample_size": Way(
        "as_before: sample_size: all -> 3",
        {**suite("type: regression", "type: regression, sample_size: 3").copy(), **WORSE},
    ),
    "sample_size of all tests": Way(
        "sample_size",
        {SUITE_FILE: GUARDED.replace("type: stat", "sample_size: 2, type: stat").replace(
            "type: regression", "type: regression, sample_size: 2"), **WORSE},
    ),
    "min_pass": Way(
        "min_pass: 3 of 3 -> 1 of 3",
        {**suite("    expected:", "    samples: 3\n    min_pass: 1\n    expected:"), **WORSE},
        suite("    expected:", "    samples: 3\n    expected:"),
    ),
    "min_pass of more samples": Way(
        "min_pass: 2 of 3 -> 2 of 30",
        {**suite("    expected:", "    samples: 30\n    min_pass: 2\n    expected:"), **WORSE},
        suite("    expected:", "    samples: 3\n    min_pass: 2\n    expected:"),
    ),
    "samples": Way(
        "samples: 3 -> 1", WORSE | {SUITE_FILE: GUARDED},
        suite("    expected:", "    samples: 3\n    expected:"),
    ),
    "allow_removed, and cases that are removed": Way(
        "allow_removed: False -> True",
        {**suite("type: regression", "type: regression, allow_removed: true"), **WORSE,
         DATA: "\n".join(line for line in reviews().splitlines() if "positive" not in line) + "\n"},
    ),
    "confirm": Way(
        "confirm: False -> True",
        {**suite("type: regression", "type: regression, confirm: true"), **WORSE},
    ),
    "scope": Way(
        "scope: suite -> population",
        {**suite("type: regression", "type: regression, scope: population"), **WORSE},
    ),
    "on_inconclusive": Way(
        "on_inconclusive: fail -> warn",
        {SUITE_FILE: GUARDED + "defaults: {on_inconclusive: warn}\n", **WORSE},
        {SUITE_FILE: GUARDED + "defaults: {on_inconclusive: fail}\n"},
    ),
    "baseline of a test": Way(
        "baseline: none -> HEAD",
        {**suite("type: regression", "type: regression, baseline: HEAD"), **WORSE},
    ),
    "baseline of the project": Way(
        "Degraded: demo", {".loom/config.yaml": "baseline: change\n", **WORSE}
    ),
    "baseline of the project that is the head": Way(
        "Degraded: demo", {".loom/config.yaml": "baseline: HEAD\n", **WORSE}
    ),
    "endpoint of the model": Way(
        "changed: models.local.base_url", {
            ".loom/config.yaml": "models: {local: {base_url: 'http://127.0.0.1:2', api_key: k}}\n"},
        {**GUARD, ".loom/config.yaml": "models: {local: {base_url: 'http://127.0.0.1:1', "
         "api_key: k}}\n", **pipeline("  prompt:", "  model: local\n  prompt:")},
    ),
    # -- tests
    "assertion that is deleted": Way(
        "quality: `mean(evaluation_scores) > 0.9` is deleted or looser",
        {SUITE_FILE: GUARDED.replace("> 0.1", "> 0.9").replace(
            '"mean(evaluation_scores) > 0.9"', '"mean(evaluation_scores) >= 0"'), **FEW_WORSE},
        suite("> 0.1", "> 0.9"),
    ),
    "assertion that is looser": Way(
        "quality: `mean(evaluation_scores) > 0.9` is deleted or looser",
        {**suite("> 0.1", "> 0.2"), **FEW_WORSE}, suite("> 0.1", "> 0.9"),
    ),
    "expectation of a unit test": Way(
        "plain: `sentiment == 'positive'` is deleted or looser",
        {**suite("{sentiment: positive}", "{sentiment: negative}"), **WORSE},
    ),
    "expectation that is looser": Way(
        "plain: `confidence >= 0.8` is deleted or looser",
        {**suite("{sentiment: positive}", "{min_confidence: 0.1}"), **WORSE},
        suite("{sentiment: positive}", "{min_confidence: 0.8}"),
    ),
    "unit test that is deleted": Way(
        "plain: the test is deleted or looser",
        {SUITE_FILE: GUARDED.partition("unit_tests")[0] + GUARDED[GUARDED.index("distr"):],
         **WORSE},
    ),
    "regression test that is deleted": Way(
        "as_before: the test is deleted or looser", {SUITE_FILE: SUITE, **WORSE}
    ),
    "test that is renamed": Way(
        "plain: the test is deleted or looser",
        {**suite("name: plain", "name: other"), **WORSE},
    ),
    "test file that is deleted": Way(
        "plain: the test is deleted or looser", WORSE, alter=remove(SUITE_FILE)
    ),
    "test file that is about another pipeline now": Way(
        "plain: the test is deleted or looser",
        {**suite("pipeline: demo", "pipeline: other"), **WORSE},
        {**GUARD, "pipelines/other.yaml": OTHER},
    ),
    # -- cases
    "cases that fail are deleted": Way(
        "5 cases removed: ", {DATA: without_failing(reviews()), **FEW_WORSE}
    ),
    "many easy new cases": Way(
        "Degraded: demo",
        {DATA: reviews() + "".join(f"e-{n},item {n} is great,positive\n" for n in range(300)),
         **FEW_WORSE},
    ),
    "cases in a database": Way(
        "cases removed: ", alter=lambda project: fill(project, 30),
        base={PIPELINE_FILE: PIPELINE.replace("data/reviews.csv", "sqlite://data/r.db/r"),
              SUITE_FILE: GUARDED.replace("data/reviews.csv", "sqlite://data/r.db/r")},
        prepare=lambda project: fill(project, 60),
    ),
    "cases that fail expect something else": Way(
        "cases changed: ",
        {DATA: reviews().replace("hate,negative", "hate,positive"), **FEW_WORSE},
    ),
    "labels are swapped": Way("cases changed: ", {DATA: swap(reviews())}),
    "easier data set": Way(
        "cases removed: ",
        {**suite("data/reviews.csv", "data/few.csv"), "data/few.csv": reviews(20), **WORSE},
    ),
    "inputs without what is hard": Way(
        "cases changed: ",
        {DATA: reviews().replace("is hate", "is bad"), **FEW_WORSE},
    ),
    "other keys": Way(
        "case", {DATA: reviews().replace("r-", "x-"), **WORSE},
    ),
    "data set that is empty": Way(
        "case", {DATA: "review_id,review,expected\n", **WORSE},
    ),
    # -- words
    "acceptance without a reason": Way(
        "`Loom-Accept: demo` is ignored", WORSE, message="Change\n\nLoom-Accept: demo\n"
    ),
    "acceptance of another pipeline": Way(
        "Degraded: demo", WORSE, message="Change\n\nLoom-Accept: other: it is fine\n"
    ),
}  # fmt: skip


def push_event(project: Path) -> str:
    """A `merge_group` event for the change, as GitHub gives it to a workflow."""
    main, head = git(project, "rev-parse", "main"), git(project, "rev-parse", "HEAD")
    return json.dumps({"merge_group": {"base_sha": main, "head_sha": head}})
