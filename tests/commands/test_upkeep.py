import json
import time

import pytest

from loomgit import cli
from loomgit.domain.models import Completion, Message, Request, Usage
from loomgit.gateway.cassette import Cassette, CassetteEntry, hash_origin, hash_request
from loomgit.gateway.reply_codec import as_hit, describe
from loomgit.gateway.reply_store import ReplyStore
from tests.projects import make_project
from tests.repos import commit, git

REPLY = Completion("Fine.", "gpt-4o-mini", Usage(10, 2), cost=0.25)


@pytest.fixture
def project(tmp_path, monkeypatch):
    folder = make_project(tmp_path / "work")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def loom(project, capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as end:
            cli.main(list(arguments))
        said = capsys.readouterr()
        return end.value.code, said.out, said.err

    return run


def fill(project, ages):
    """Replies so many days old."""
    for number, age in enumerate(ages):
        store = ReplyStore(
            project / ".loom" / "cache" / "responses.sqlite",
            warn=pytest.fail,
            clock=lambda age=age: time.time() - age * 86400,
        )
        store.put(number.to_bytes(32, "big"), REPLY)
        store.close()


def test_an_empty_cache_says_so(loom):
    code, out, _ = loom("cache", "stats")
    assert (code, out.splitlines()[0]) == (0, "Replies:  0")


def test_stats_tell_what_the_cache_holds(loom, project):
    fill(project, [3, 1])
    code, out, _ = loom("cache", "stats")
    assert code == 0
    assert "Replies:  2" in out
    assert "Cost:     $0.50" in out
    assert "Age:      1.0 days to 3.0 days" in out
    assert "gpt-4o-mini  2  $0.50" in out
    document = json.loads(loom("cache", "stats", "--json")[1])
    assert (document["entries"], document["cost"], document["schema_version"]) == (2, 0.5, 1)
    assert document["models"] == {"gpt-4o-mini": {"entries": 2, "cost": 0.5}}


def test_pruning_goes_by_age_and_size_and_clearing_takes_all(loom, project):
    fill(project, [30, 8, 2, 1])
    assert loom("cache", "prune", "--older-than", "20d")[1] == "Removed 1 reply\n"
    assert loom("cache", "prune")[1] == "Removed 0 replies\n"
    assert json.loads(loom("cache", "clear", "--json")[1])["removed"] == 3
    assert "Replies:  0" in loom("cache", "stats")[1]


def test_an_age_that_is_none_is_a_fault_of_usage(loom):
    code, _, err = loom("cache", "prune", "--older-than", "soon")
    assert code == 2
    assert "7d" in err


def record(project, name, origins):
    cassette = Cassette(project / ".loom" / "cassettes" / f"{name}.jsonl", name)
    requests = [describe(Request("m", (Message("user", text),))) for text in origins]
    cassette.save(
        CassetteEntry(hash_request(request), origin, request, as_hit(REPLY))
        for request, origin in zip(requests, origins.values(), strict=True)
    )


def blob(project, path):
    return git(project, "hash-object", path)


def now(project):
    context = {"context/taxonomy.md": blob(project, "context/taxonomy.md")}
    return hash_origin(blob(project, "prompts/classify.txt"), context)


def test_verifying_counts_the_replies(loom, project):
    assert loom("cassette", "verify")[:2] == (0, "no recorded replies\n")
    record(project, "demo", {"a": "x", "b": "x"})
    code, out, _ = loom("cassette", "verify")
    assert (code, out) == (0, ".loom/cassettes/demo.jsonl: 2 replies\n")
    assert json.loads(loom("cassette", "verify", "demo", "--json")[1])["cassettes"] == {"demo": 2}


def test_damage_is_named_in_every_cassette_and_exits_2(loom, project):
    for name in ("demo", "other"):
        commit(project, {f".loom/cassettes/{name}.jsonl": "{}\n"})
    code, _, err = loom("cassette", "verify")
    assert code == 2
    for name in ("demo", "other"):
        assert f"error: .loom/cassettes/{name}.jsonl:1:1: a damaged entry" in err
    assert loom("cassette", "prune")[0] == 2


def test_pruning_removes_what_another_state_of_the_prompt_asked(loom, project):
    record(project, "demo", {"kept": now(project), "old": "0" * 16})
    assert "would remove 1 reply, keep 1" in loom("cassette", "prune", "--dry-run")[1]
    assert "removed 1 reply, kept 1" in loom("cassette", "prune")[1]
    assert "removed 0 replies, kept 1" in loom("cassette", "prune", "demo")[1]
    prompt = project / "prompts" / "classify.txt"
    prompt.write_text(prompt.read_text() + "\nBe brief.\n")
    assert "removed 1 reply, kept 0" in loom("cassette", "prune")[1]
    assert not (project / ".loom" / "cassettes" / "demo.jsonl").exists()


def test_the_cassette_of_a_pipeline_that_is_gone_goes_too(loom, project):
    record(project, "gone", {"a": "x"})
    assert "removed 1 reply, kept 0" in loom("cassette", "prune")[1]
    assert not (project / ".loom" / "cassettes" / "gone.jsonl").exists()


def test_a_pipeline_without_a_cassette_is_a_fault_with_a_hint(loom, project):
    record(project, "demo", {"a": "x"})
    code, _, err = loom("cassette", "verify", "dmeo")
    assert code == 2
    assert "did you mean 'demo'?" in err
