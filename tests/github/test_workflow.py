import pytest

from loomgit.github.workflow import Workflow, parse_workflow, render_annotation, render_notice

COMMIT = "a" * 40
USUAL = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_REPOSITORY": "acme/bot",
    "GITHUB_REF": "refs/pull/7/merge",
    "GITHUB_TOKEN": "t",
}


def parse(event, **variables):
    return parse_workflow({**USUAL, **variables}, event)


def test_outside_of_a_workflow_there_is_none():
    assert parse_workflow({"PATH": "/bin"}, {}) is None


def test_a_pull_request_from_a_branch():
    head = {"sha": COMMIT, "repo": {"full_name": "acme/bot"}}
    event = {"pull_request": {"number": 3, "head": head, "base": {"sha": "b" * 40}}}
    assert parse(event) == Workflow(
        "acme/bot", "https://api.github.com", "t", 3, False, None, COMMIT, "b" * 40
    )


@pytest.mark.parametrize("source", [{"full_name": "mallory/bot"}, None])
def test_a_pull_request_from_elsewhere_is_a_fork(source):
    found = parse({"pull_request": {"number": 3, "head": {"repo": source}}})
    assert found.fork


@pytest.mark.parametrize("event", [{"pull_request": 3}, {"pull_request": {"number": "x"}}])
def test_an_odd_event_leaves_what_the_variables_say(event):
    found = parse(event)
    assert (found.pull, found.fork, found.base) == (7, False, "")


def test_without_an_event_the_number_is_in_the_ref():
    assert parse({}).pull == 7


def test_a_push_says_what_was_there_before():
    found = parse({"before": COMMIT}, GITHUB_REF="refs/heads/main")
    assert (found.pull, found.base) == (None, COMMIT)
    new = parse({"before": "0" * 40}, GITHUB_REF="refs/heads/new")
    assert new.base == ""
    forged = parse({"before": "--output=x"}, GITHUB_REF="refs/heads/main")
    assert forged.base == ""


def test_a_run_after_another_one_knows_whose_commits_it_is_about():
    run = {
        "head_sha": COMMIT,
        "head_branch": "patch",
        "head_repository": {"owner": {"login": "mallory"}},
        "pull_requests": [{"number": 1}],  # anybody's: not asked
    }
    found = parse({"workflow_run": run}, GITHUB_API_URL="http://localhost:1/")
    assert found == Workflow(
        "acme/bot", "http://localhost:1", "t", head=COMMIT, owner="mallory", branch="patch"
    )


def test_nothing_leaves_its_place_in_a_workflow_command():
    said = render_annotation("error", "a,b:c.txt", 3, "x\n::error::y", "50% of\r\nlines")
    assert said == (
        "::error file=a%2Cb%3Ac.txt,line=3,title=x%0A%3A%3Aerror%3A%3Ay::50%25 of%0D%0Alines"
    )
    assert render_notice("warning", "a\n::b::") == "::warning::a%0A::b::"
