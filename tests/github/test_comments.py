import asyncio

import pytest

from loomgit.errors import WorldError
from loomgit.github.comments import COMMENT_LIMIT, Comments, render_marker
from loomgit.github.workflow import Workflow
from tests.servers.github_server import GitHubServer

TOKEN = "ghs_secret"


@pytest.fixture
def server():
    with GitHubServer() as running:
        yield running


def comments(server: GitHubServer, project: str = ".", **options) -> Comments:
    workflow = Workflow("acme/bot", server.url, TOKEN, options.pop("pull", 7), **options)
    return Comments(workflow, project, seconds=0.5, pause=0.01)


def publish(server: GitHubServer, text: str = "Hello", **options) -> str:
    return asyncio.run(comments(server, **options).publish(text))


def texts(server: GitHubServer) -> list[str]:
    return [comment["body"] for comment in server.comments]


def test_it_writes_one_comment_and_updates_it_in_place(server):
    server.add("a person says something")
    address = publish(server, "one")
    assert publish(server, "two") == address
    assert texts(server) == ["a person says something", f"{render_marker('.')}\ntwo"]
    assert server.tokens == {TOKEN}


def test_it_is_found_behind_a_page_of_others(server):
    for number in range(250):
        server.add(f"comment {number}")
    server.add(f"{render_marker('.')}\nold", "github-actions[bot]", "Bot")
    publish(server, "new")
    assert texts(server)[-1] == f"{render_marker('.')}\nnew"
    assert len(server.comments) == 251


def test_others_are_left_alone_even_where_they_quote_us(server):
    quoted = f"> {render_marker('.')}\n> one"
    server.add(quoted)
    forged = f"{render_marker('.')}\nI am Loom"
    server.add(forged, "mallory")
    publish(server, "ours")
    publish(server, "ours again")
    assert texts(server) == [quoted, forged, f"{render_marker('.')}\nours again"]


def test_a_persons_token_finds_that_persons_comment(server):
    server.owner = {"login": "robot-account", "type": "User"}
    publish(server, "one")
    publish(server, "two")
    assert texts(server) == [f"{render_marker('.')}\ntwo"]


def test_projects_of_a_repository_have_a_comment_each(server):
    publish(server, "a", project="apps/a")
    publish(server, "b", project="apps/-->b")
    publish(server, "a2", project="apps/a")
    assert texts(server) == [f"{render_marker('apps/a')}\na2", f"{render_marker('apps/-->b')}\nb"]
    assert render_marker("apps/-->b").count("-->") == 1


def test_two_runs_at_once_leave_one_comment(server):
    server.delay = 0.05

    async def both():
        return await asyncio.gather(*(comments(server).publish(f"run {n}") for n in range(2)))

    one, two = asyncio.run(both())
    assert one == two
    assert len(server.comments) == 1
    assert server.comments[0]["body"].startswith(render_marker("."))


def test_a_comment_that_was_removed_meanwhile_is_written_anew(server):
    server.add(f"{render_marker('.')}\nold", "github-actions[bot]", "Bot")
    server.fail["PATCH"] = [404]
    server.comments[0]["id"] = 99  # newer than what is written now: nothing to give way to
    publish(server, "new")
    assert texts(server)[-1] == f"{render_marker('.')}\nnew"


@pytest.mark.parametrize("failures", [[502], [503, 500], [429], [0]])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_passes_by_itself_is_tried_again(server, failures, method):
    server.fail[method] = list(failures)
    publish(server, "at last")
    assert texts(server) == [f"{render_marker('.')}\nat last"]


@pytest.mark.parametrize("status", [401, 403, 404, 422])
def test_a_refusal_is_told_once_without_the_token(server, status):
    server.fail["POST"] = [status] * 9
    with pytest.raises(WorldError, match=f"GitHub responded with {status}") as caught:
        publish(server)
    assert TOKEN not in caught.value.message
    assert "***" in caught.value.message
    assert [method for method, _ in server.asked].count("POST") == 1


@pytest.mark.parametrize("status", [500, 503, 0])
def test_an_outage_is_told(server, status):
    server.fail["GET"] = [status] * 9
    with pytest.raises(WorldError, match="GitHub"):
        publish(server)
    assert server.comments == []


def test_nobody_there_is_told():
    workflow = Workflow("acme/bot", "http://127.0.0.1:9", TOKEN, 7)
    with pytest.raises(WorldError, match="GitHub is unreachable"):
        asyncio.run(Comments(workflow, pause=0.01).publish("x"))


def test_a_body_of_the_limit_is_taken(server):
    publish(server, "x" * (COMMENT_LIMIT * 2))
    assert len(server.comments[0]["body"]) == COMMENT_LIMIT


def test_the_pull_request_of_another_run_is_found_by_its_commit(server):
    server.pulls = [
        {"number": 3, "head": {"label": "mallory:patch", "sha": "b" * 40}},
        {"number": 7, "head": {"label": "mallory:patch", "sha": "a" * 40}},
    ]
    publish(server, "fork", pull=None, head="a" * 40, owner="mallory", branch="patch")
    assert texts(server) == [f"{render_marker('.')}\nfork"]
    with pytest.raises(WorldError, match="no open pull request has the commit cccccccc"):
        publish(server, "fork", pull=None, head="c" * 40, owner="mallory", branch="patch")
