import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loomgit.history.commit_counts import Span, count_changes, load_graph
from loomgit.history.repository import Repository
from tests.repos import git, make

PATHS = ("a.txt", "b/c.txt", "d e.txt")


@st.composite
def histories(draw):
    """Parents and the paths' contents (0: absent) of each commit; the last one is HEAD."""
    commits = []
    for number in range(draw(st.integers(2, 12))):
        parents = draw(
            st.lists(
                st.integers(max(0, number - 4), number - 1), min_size=1, max_size=3, unique=True
            )
            if number
            else st.just([])
        )
        if number:  # one line joins all, so that nothing is out of HEAD's sight
            parents = (
                list(dict.fromkeys([*parents, number - 1])) if draw(st.booleans()) else parents
            )
        contents = [
            draw(st.sampled_from([commits[p][1][i] for p in parents] + [0, 1, 2]))
            for i in range(len(PATHS))
        ]
        commits.append((parents, contents))
    behind_head = sorted(ancestors(commits, len(commits) - 1))
    return commits, draw(st.sampled_from(behind_head))


def ancestors(commits, start):
    seen, todo = set(), [start]
    while todo:
        if (number := todo.pop()) not in seen:
            seen.add(number)
            todo += commits[number][0]
    return seen


def build(folder, commits, start):
    """The commits behind `start` are the youngest: Git then knows all of them before it counts."""
    behind = ancestors(commits, start)
    lines = []
    for number, (parents, contents) in enumerate(commits):
        when = 1_000_000 + number * 100 + (1_000_000 if number in behind else 0)
        lines.append(f"commit refs/heads/h{number}\nmark :{number + 1}\n")
        lines.append(f"committer A <a@example.org> {when} +0000\ndata 1\nx\n")
        lines += [f"{'merge' if i else 'from'} :{p + 1}\n" for i, p in enumerate(parents)]
        lines.append("deleteall\nM 100644 inline always.txt\ndata 1\nx\n")
        for path, content in zip(PATHS, contents, strict=True):
            if content:
                lines.append(f"M 100644 inline {path}\ndata 1\n{content}\n")
    lines.append(f"reset refs/heads/main\nfrom :{len(commits)}\n\n")
    lines.append(f"reset refs/tags/start\nfrom :{start + 1}\n\n")
    subprocess.run(
        ["git", "fast-import", "--quiet", "--force", "--date-format=raw"],
        cwd=folder,
        input="".join(lines).encode(),
        check=True,
        capture_output=True,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make(tmp_path_factory.mktemp("walks"))


@given(history=histories())
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_changes_are_counted_as_git_counts_them(folder, history):
    commits, start = history
    build(folder, commits, start)
    since, tip = git(folder, "rev-parse", "start", "main").split()
    spans = [Span((path,), since, tip) for path in PATHS]
    repository = Repository.open(folder)
    ours = count_changes(repository, load_graph(repository, [tip]), spans)
    said = [git(folder, "rev-list", "--count", f"{since}..{tip}", "--", path) for path in PATHS]
    assert ours == [int(count) for count in said], (commits, start)
