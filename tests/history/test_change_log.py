import os
import subprocess
from datetime import UTC, datetime

import pytest

from loomgit.history.change_log import read_changes
from loomgit.history.repository import Repository
from loomgit.report.changes import change_table
from tests.repos import CLEAN, commit, git, make, write

PATHS = ("prompts", "context", "pipelines")
PROMPT = "prompts/a.txt"


@pytest.fixture
def folder(tmp_path):
    made = make(tmp_path / "work")
    commit(made, {PROMPT: "one\n", "pipelines/x.yaml": "name: x\n"}, "Begin")
    return made


def log_of(folder, **options):
    return read_changes(Repository.open(folder), PATHS, **options)


def changes(folder, **options):
    return log_of(folder, **options).changes


def git_as(name, folder, *arguments):
    who = {f"GIT_{role}_NAME": name for role in ("AUTHOR", "COMMITTER")}
    who |= {f"GIT_{role}_EMAIL": f"{name.lower()}@example.org" for role in ("AUTHOR", "COMMITTER")}
    env = {**os.environ, **CLEAN, **who}
    subprocess.run(["git", *arguments], cwd=folder, env=env, check=True, capture_output=True)


def branch(folder):
    """A branch with two changes of the prompt, and something else meanwhile on main."""
    git(folder, "switch", "-qc", "feature")
    commit(folder, {PROMPT: "two\n"}, "Second")
    commit(folder, {PROMPT: "three\n"}, "Third")
    git(folder, "switch", "-q", "main")
    commit(folder, {"README.md": "x"}, "Elsewhere")


def test_each_file_of_a_commit_is_a_change_newest_first(folder):
    commit(folder, {PROMPT: "two\n", "README.md": "x"}, "Second")
    found = changes(folder)
    assert [(change.subject, change.path, change.author) for change in found] == [
        ("Second", PROMPT, "Ada"),
        ("Begin", "pipelines/x.yaml", "Ada"),
        ("Begin", PROMPT, "Ada"),
    ]
    assert [change.approvals for change in found] == [()] * 3
    assert not any(change.approved for change in found)


def test_a_merge_by_another_approves_all_that_it_brought(folder):
    branch(folder)
    git_as("Grace", folder, "merge", "-q", "--no-ff", "feature", "-m", "Merge feature")
    third, second, *first = changes(folder)
    for change in (third, second):
        (approval,) = change.approvals
        assert (approval.kind, approval.by, approval.said) == ("merge", "Grace", "Merge feature")
        assert approval.commit == git(folder, "rev-parse", "HEAD")
        assert change.approved
    assert not any(change.approvals for change in first)


def test_a_merge_by_the_author_is_told_and_approves_nothing(folder):
    branch(folder)
    git(folder, "merge", "-q", "--no-ff", "feature", "-m", "Merge feature")
    change = changes(folder)[0]
    assert [str(approval) for approval in change.approvals] == ["merged by Ada (the author)"]
    assert not change.approved


def test_the_author_by_another_name_with_the_same_address_is_the_author(folder):
    branch(folder)
    git(folder, "config", "user.name", "Countess")
    git(folder, "config", "user.email", "ADA@example.org")
    env = {k: v for k, v in {**os.environ, **CLEAN}.items() if "AUTHOR" not in k}
    merge = ["git", "merge", "-q", "--no-ff", "feature", "-m", "Merge"]
    subprocess.run(merge, cwd=folder, env=env, check=True)
    (approval,) = changes(folder)[0].approvals
    assert (approval.by, approval.own) == ("Countess", True)


def test_trailers_that_approve_count_and_others_do_not(folder):
    message = (
        "Second\n\nReviewed-by: Linus <l@example.org>\nLoom-Accept: label: it is worth it\n"
        "Signed-off-by: Ada <ada@example.org>\nChange-Id: I123\n"
    )
    commit(folder, {PROMPT: "two\n"}, message)
    found = changes(folder)[0].approvals
    assert [(a.by, a.said.partition(":")[0], a.own) for a in found] == [
        ("Linus", "Reviewed-by", False),
        ("Ada", "Loom-Accept", True),
        ("Ada", "Signed-off-by", True),
    ]


def test_an_accepted_loss_in_the_merge_is_the_mergers_word(folder):
    branch(folder)
    message = "Merge\n\nLoom-Accept: x.label: shorter"
    git_as("Grace", folder, "merge", "-q", "--no-ff", "feature", "-m", message)
    _, said = changes(folder)[0].approvals
    assert (said.kind, said.by, said.own) == ("trailer", "Grace", False)


def test_annotated_tags_of_the_content_approve_and_lightweight_ones_are_told(folder):
    git_as("Grace", folder, "tag", "-a", "-m", "ok", "prompts/a@v1")
    git_as("Grace", folder, "tag", "-a", "-m", "release", "v9")
    git(folder, "tag", "v8-light")
    git_as("Grace", folder, "tag", "-a", "-m", "later", "v10")
    pipeline, prompt = changes(folder)
    own, whole = prompt.approvals
    assert (own.said, own.by, own.own) == ("prompts/a@v1", "Grace", False)
    assert "@" not in whole.said
    assert prompt.version == "v1"
    assert not any("@" in approval.said for approval in pipeline.approvals)
    commit(folder, {PROMPT: "two\n"}, "Second")
    assert changes(folder)[0].approvals == ()


def test_a_lightweight_tag_approves_nothing(folder):
    git(folder, "tag", "v1")
    change = changes(folder)[0]
    assert [str(approval) for approval in change.approvals] == ["tagged v1"]
    assert not change.approved


def test_a_conflict_that_a_merge_resolved_by_new_words_is_a_change_of_its_own(folder):
    branch(folder)
    commit(folder, {PROMPT: "mine\n"}, "Mine")
    subprocess.run(["git", "merge", "-q", "feature"], cwd=folder, check=False, capture_output=True)
    write(folder, {PROMPT: "both\n"})
    git(folder, "commit", "-qam", "Merge feature")
    found = [(change.subject, change.blob) for change in changes(folder)]
    assert found[0] == ("Merge feature", git(folder, "rev-parse", f"HEAD:{PROMPT}"))
    assert len(found) == 6


def test_a_removed_file_has_no_version(folder):
    git(folder, "rm", "-q", PROMPT)
    git(folder, "commit", "-qm", "Remove")
    change = changes(folder)[0]
    assert (change.path, change.blob, change.version) == (PROMPT, "", "")
    assert "(removed)" in list(change_table(log_of(folder)))[1]


def test_since_keeps_what_came_later(folder):
    assert changes(folder, since=datetime(2100, 1, 1, tzinfo=UTC)) == ()
    assert len(changes(folder, since=datetime(2000, 1, 1, tzinfo=UTC))) == 2
    assert list(change_table(log_of(folder, since=datetime(2100, 1, 1, tzinfo=UTC)))) == [
        "No prompt, context file or pipeline changed since 2100-01-01."
    ]


def test_no_message_misleads_the_reader(folder):
    odd = "\x1b[31mA\x02\x03:100644 100644 x\x01\n\nReviewed-by: \x1b[2J"
    commit(folder, {'prompts/:odd "ü\n.txt': "x"}, odd)
    (change, *_) = changes(folder)
    assert change.path == 'prompts/:odd "ü\n.txt'
    assert change.subject.startswith("\x1b[31mA")
    assert all(line.isprintable() for line in change_table(log_of(folder)))


def test_before_the_first_commit_there_is_nothing(tmp_path):
    log = log_of(make(tmp_path / "empty"))
    assert (log.head, log.changes) == ("", ())


def test_in_a_subfolder_only_its_own_files_count(folder):
    commit(folder, {"apps/bot/prompts/b.txt": "x", "prompts/other.txt": "y"}, "Both")
    inner = read_changes(Repository.open(folder / "apps/bot"), PATHS)
    assert [change.path for change in inner.changes] == ["prompts/b.txt"]


def test_a_shallow_clone_says_so(folder, tmp_path):
    commit(folder, {PROMPT: "two\n"}, "Second")
    git(tmp_path, "clone", "-q", "--depth=1", folder.as_uri(), "clone")
    log = log_of(tmp_path / "clone")
    assert log.shallow
    assert "shallow clone" in list(change_table(log))[-1]
