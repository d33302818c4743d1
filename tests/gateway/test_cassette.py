import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from loomgit.domain.models import Completion, Message, Request, Usage
from loomgit.errors import ProblemsFound, Unavailable, Unrecorded, UserError, WorldError
from loomgit.gateway.cassette import Cassette, CassetteEntry, hash_origin, hash_request, parse_entry
from loomgit.gateway.replay import CassetteGateway
from loomgit.gateway.reply_codec import as_hit, describe, request_key

SHOWN = ".loom/cassettes/demo.jsonl"
ASK = Request("gpt-4o-mini", (Message("user", "Größe?"),), temperature=0.0)
OTHER = replace(ASK, sample=1)
REPLY = Completion("Fine — ja.", "served", Usage(10, 2), cost=0.5, latency=1.0)
HIT = replace(REPLY, cost=0.0, saved=0.5, latency=None, attempts=0, cached=True)


class Model:
    def __init__(self):
        self.calls = 0
        self.error = None
        self.closed = False

    async def complete(self, request):
        self.calls += 1
        number = self.calls
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        return replace(REPLY, text=f"reply {number}")

    async def close(self):
        self.closed = True


class Session:
    """Sessions one after the other over one cassette and one model."""

    def __init__(self, path):
        self.path, self.model = path, Model()

    def __call__(self, mode, *requests, origin="now", together=False):
        async def run():
            gateway = CassetteGateway(self.model, Cassette(self.path, SHOWN), mode, origin=origin)
            try:
                if together:
                    return await asyncio.gather(*map(gateway.complete, requests))
                return [await gateway.complete(request) for request in requests]
            finally:
                await gateway.close()

        return asyncio.run(run())

    def lines(self):
        return self.path.read_text(encoding="utf-8").splitlines()


@pytest.fixture
def session(tmp_path):
    return Session(tmp_path / "cassettes" / "demo.jsonl")


def test_what_was_recorded_is_replayed_without_a_call(session):
    first, second = session("auto", ASK, OTHER)
    assert (first.cached, second.cached) == (False, False)
    replayed = session("only", OTHER, ASK)
    assert replayed == [replace(HIT, text="reply 2"), replace(HIT, text="reply 1")]
    assert session.model.calls == 2
    assert session.model.closed


def test_a_request_that_was_not_recorded_is_said_so_in_only_mode(session):
    session("auto", ASK)
    before = session.lines()
    with pytest.raises(Unrecorded, match=f"nothing is recorded.*in {SHOWN}") as caught:
        session("only", OTHER)
    assert "record" in caught.value.hint
    assert session.model.calls == 1
    assert session.lines() == before


def test_auto_asks_only_for_what_is_missing(session):
    session("auto", ASK)
    assert [done.text for done in session("auto", ASK, OTHER)] == ["reply 1", "reply 2"]
    assert session.model.calls == 2
    assert len(session.lines()) == 2


def test_record_asks_everything_once_and_replaces_it(session):
    session("auto", ASK, OTHER)
    assert [done.text for done in session("record", ASK, ASK)] == ["reply 3", "reply 3"]
    assert [done.text for done in session("only", ASK, OTHER)] == ["reply 3", "reply 2"]


def test_a_fresh_request_replaces_what_was_asked_here_and_not_what_was_recorded(session):
    fresh = replace(ASK, fresh=True)
    assert [done.text for done in session("auto", ASK, fresh, ASK)] == [
        "reply 1",
        "reply 2",
        "reply 2",
    ]
    for mode in ("only", "auto"):
        assert [done.text for done in session(mode, ASK, fresh)] == ["reply 2"] * 2
    assert session.model.calls == 2


def test_how_a_recorded_reply_ended_is_known_again(tmp_path):
    path, entry = tmp_path / "demo.jsonl", CassetteEntry("", "now", describe(ASK), HIT)
    whole = replace(entry, key=hash_request(entry.request))
    cut = replace(whole, reply=replace(HIT, ending="length"))
    assert b"ending" not in whole.line()
    for kept in (whole, cut):
        path.write_bytes(kept.line())
        assert Cassette(path, SHOWN).entries[kept.key] == kept


def test_off_neither_reads_nor_writes(session):
    session("off", ASK)
    assert not session.path.exists()
    session("auto", ASK)
    assert session("off", ASK)[0].text == "reply 3"


def test_equal_requests_at_once_all_have_the_reply_that_is_recorded(session):
    done = session("record", *[ASK] * 5, together=True)
    assert {reply.text for reply in done} == {session("only", ASK)[0].text}
    assert session.model.calls == 1
    assert sum(reply.cost for reply in done) == 0.5


def test_a_failure_is_not_recorded_and_what_came_before_it_is(session):
    session("auto", ASK)
    session.model.error = Unavailable("down")
    with pytest.raises(Unavailable):
        session("auto", ASK, OTHER)
    assert len(session.lines()) == 1


def test_lines_are_sorted_by_key_and_hold_what_a_review_needs(session):
    session("auto", *[replace(ASK, sample=number) for number in range(9)])
    keys = [json.loads(line)["key"] for line in session.lines()]
    assert keys == sorted(keys)
    entry = json.loads(session.lines()[0])
    assert set(entry) == {"key", "reply", "request", "origin"}
    assert entry["request"]["messages"] == [{"role": "user", "content": "Größe?"}]
    assert entry["reply"]["cost"] == 0.5
    assert "Größe?" in session.path.read_text(encoding="utf-8"), "people can read it"


def test_the_key_is_that_of_the_cache():
    assert hash_request(describe(ASK)) == request_key(ASK).hex()


DAMAGE = {
    "cut off": lambda lines: [*lines[:-1], lines[-1][: len(lines[-1]) // 2]],
    "a merge conflict": lambda lines: [lines[0], "<<<<<<< HEAD", *lines[1:]],
    "no object": lambda lines: [lines[0], "7", *lines[1:]],
    "another reply": lambda lines: [lines[0], lines[1].replace('"text":', '"texts":'), *lines[2:]],
    "another request": lambda lines: [lines[0], lines[1].replace("Größe", "Farbe"), *lines[2:]],
    "twice": lambda lines: [*lines, lines[0]],
    "an empty line": lambda lines: [lines[0], "", *lines[1:]],
}


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("mode", ["auto", "only", "record"])
def test_damage_is_an_error_that_names_the_line(session, kind, mode):
    session("auto", ASK, OTHER, replace(ASK, sample=2))
    damaged = DAMAGE[kind](session.lines())
    session.path.write_text("\n".join(damaged), encoding="utf-8")
    number = {"cut off": 3, "twice": 4}.get(kind, 2)
    with pytest.raises(ProblemsFound, match=f"{SHOWN}:{number}:1: a damaged entry"):
        session(mode, ASK)
    assert session.path.read_text(encoding="utf-8") == "\n".join(damaged), "it is left as it is"


def test_all_damaged_lines_are_named_at_once(session):
    session("auto", ASK, OTHER)
    session.path.write_text("x\n" + session.lines()[0] + "\ny\n", encoding="utf-8")
    with pytest.raises(ProblemsFound) as caught:
        Cassette(session.path, SHOWN)
    assert [problem.place.line for problem in caught.value.problems] == [1, 3]


def test_a_cassette_that_cannot_be_written_is_an_error(session):
    session.path.parent.write_text("a file where a folder should be")
    with pytest.raises(UserError, match=SHOWN):
        session("auto", ASK)
    session.path.parent.unlink()
    session.path.mkdir(parents=True)
    cassette = Cassette(session.path.with_name("other.jsonl"), SHOWN)
    cassette.path = session.path / "x" / "y.jsonl"
    session.path.joinpath("x").write_text("a file where a folder should be")
    with pytest.raises(WorldError, match=SHOWN):
        cassette.save([CassetteEntry("k", "o", {}, HIT)])


def test_sessions_that_record_at_once_lose_nothing_of_each_other(session):
    cassettes = [Cassette(session.path, SHOWN) for _ in range(4)]

    def record(number):
        request = describe(replace(ASK, sample=number))
        cassettes[number].save([CassetteEntry(hash_request(request), "o", request, HIT)])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(record, range(4)))
    assert len(Cassette(session.path, SHOWN).entries) == 4
    leftovers = [path.name for path in session.path.parent.iterdir() if path != session.path]
    assert all(name.startswith(".") and name.endswith(".tmp") for name in leftovers)


def test_what_is_asked_again_is_marked_as_asked_by_what_is_there_now(session):
    session("auto", ASK, OTHER, origin="old")
    session("auto", ASK, origin="new")
    session("only", OTHER, origin="new")
    origins = {e.request.get("sample"): e.origin for e in entries(session)}
    assert origins == {None: "new", 1: "old"}


def entries(session):
    return Cassette(session.path, SHOWN).entries.values()


def test_the_origin_follows_the_contents_and_not_their_order():
    one = hash_origin("abc", {"a.md": "1", "b.md": "2"})
    assert one == hash_origin("abc", {"b.md": "2", "a.md": "1"})
    assert one != hash_origin("abd", {"a.md": "1", "b.md": "2"})
    assert one != hash_origin("abc", {"a.md": "1", "b.md": "3"})


@given(st.text(), st.text(), st.integers(0, 10**6), st.none() | st.floats(0, 10**6))
def test_an_entry_comes_back_as_it_was_written(asked, text, tokens, cost):
    request = describe(Request("m", (Message("user", asked),)))
    reply = as_hit(Completion(text, "m", Usage(tokens, tokens, 0), cost))
    entry = CassetteEntry(hash_request(request), "o", request, reply)
    line = entry.line()
    assert line.count(b"\n") == 1
    assert len(line.splitlines()) == 1
    assert parse_entry(line) == entry
