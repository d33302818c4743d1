import json

import pytest

from loomgit.hooks.github import Workflow, annotation, notice, parse_workflow

COMMIT = "a" * 40
USUAL = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_REPOSITORY": "acme/bot",
    "GITHUB_REF": "refs/pull/7/merge",
    "GITHUB_TOKEN": "t",
}


def parse(tmp_path, event, **variables):
    file = tmp_path / "event.json"
    file.write_text(json.dumps(event))
    return parse_workflow({**USUAL, "GITHUB_EVENT_PATH": str(file), **variables})


def test_outside_of_a_workflow_there_is_none():
    assert parse_workflow({"PATH": "/bin"}) is None


def test_a_pull_request_from_a_branch(tmp_path):
    head = {"sha": COMMIT, "repo": {"full_name": "acme/bot"}}
    event = {"pull_request": {"number": 3, "head": head, "base": {"sha": "b" * 40}}}
    assert parse(tmp_path, event) == Workflow(
        "acme/bot", "https://api.github.com", "t", 3, False, None, COMMIT, "b" * 40
    )


@pytest.mark.parametrize("source", [{"full_name": "mallory/bot"}, None])
def test_a_pull_request_from_elsewhere_is_a_fork(tmp_path, source):
    found = parse(tmp_path, {"pull_request": {"number": 3, "head": {"repo": source}}})
    assert found.fork


@pytest.mark.parametrize("event", [[], {"pull_request": 3}, {"pull_request": {"number": "x"}}])
def test_an_odd_event_leaves_what_the_variables_say(tmp_path, event):
    found = parse(tmp_path, event)
    assert (found.pull, found.fork, found.base) == (7, False, "")


def test_an_event_that_cannot_be_read_is_empty(tmp_path):
    assert parse_workflow({**USUAL, "GITHUB_EVENT_PATH": str(tmp_path / "gone")}).pull == 7


def test_a_push_says_what_was_there_before(tmp_path):
    found = parse(tmp_path, {"before": COMMIT}, GITHUB_REF="refs/heads/main")
    assert (found.pull, found.base) == (None, COMMIT)
    new = parse(tmp_path, {"before": "0" * 40}, GITHUB_REF="refs/heads/new")
    assert new.base == ""
    forged = parse(tmp_path, {"before": "--output=x"}, GITHUB_REF="refs/heads/main")
    assert forged.base == ""


def test_a_run_after_another_one_knows_whose_commits_it_is_about(tmp_path):
    run = {
        "head_sha": COMMIT,
        "head_branch": "patch",
        "head_repository": {"owner": {"login": "mallory"}},
        "pull_requests": [{"number": 1}],  # anybody's: not asked
    }
    found = parse(tmp_path, {"workflow_run": run}, GITHUB_API_URL="http://localhost:1/")
    assert found == Workflow(
        "acme/bot", "http://localhost:1", "t", head=COMMIT, owner="mallory", branch="patch"
    )


def test_nothing_leaves_its_place_in_a_workflow_command():
    said = annotation("error", "a,b:c.txt", 3, "x\n::error::y", "50% of\r\nlines")
    assert said == (
        "::error file=a%2Cb%3Ac.txt,line=3,title=x%0A%3A%3Aerror%3A%3Ay::50%25 of%0D%0Alines"
    )
    assert notice("warning", "a\n::b::") == "::warning::a%0A::b::"
