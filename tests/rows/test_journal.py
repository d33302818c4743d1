"""The journal of a run: what a later attempt finds after a crash."""

import os
from array import array

import pytest
from msgspec.structs import replace

from loomgit.domain.models import CallTotals, Usage
from loomgit.domain.records import (
    Assessment,
    Output,
    Record,
    RecordFailure,
    RecordOutcome,
    Score,
)
from loomgit.errors import WorldError
from loomgit.rows.journal import Journal
from loomgit.rows.run_spool import RunSpool
from loomgit.rows.spool import Spool

RECORD = Record(3, "r-3", {"text": "a"})
OUTCOME = RecordOutcome(
    RECORD,
    Output({"a": [1, {"b": None}], "ü": "x\ny"}, "t", "m", Usage(1, 2, 3), cost=0.1, latency=2.0),
    (
        Assessment("one", 0.5, score=Score(0.25, "why", usage=Usage(4, 5), cost=None, calls=2)),
        Assessment("two", 0.5, error="bad", spent=CallTotals(usage=Usage(6)), trouble="product"),
    ),
    RecordFailure("gate", "low"),
    fallback=True,
    replaced=RecordFailure("transform", "x"),
    discarded=(Assessment("one", 0.5, score=Score(0.1, "first")),),
)


@pytest.fixture
def reopen(tmp_path):
    opened = []

    def one():
        while opened:
            opened.pop().close()
        opened.append(Journal(tmp_path / "journal"))
        return opened[-1]

    yield one
    while opened:
        opened.pop().close()


def test_an_outcome_comes_back_as_it_was(reopen):
    reopen().add(OUTCOME)
    journal = reopen()
    assert journal.find(RECORD) == replace(OUTCOME, resumed=True)
    assert journal.find(replace(RECORD, index=4)) is None


def test_a_long_outcome_comes_back(reopen):
    long = replace(OUTCOME, output=Output({"text": "x" * 1_000_000}, "", "m"))
    reopen().add(long)
    journal = reopen()
    journal.add(replace(OUTCOME, record=replace(RECORD, index=4)))
    assert journal.find(RECORD).output == long.output
    assert reopen().find(replace(RECORD, index=4)).output == OUTCOME.output


def test_parts_are_found_by_the_index_of_a_record(reopen):
    journal = reopen()
    journal.begin_part(0, range(50))
    journal.report_part(0)
    journal.begin_part(1, [50, 51, 53, 70])
    journal.begin_part(2, [])
    journal = reopen()
    assert journal.part_sizes == {0: 50, 1: 4, 2: 0}
    parts = {index: journal.part_of(index) for index in (0, 49, 50, 51, 52, 53, 54, 70, 71)}
    assert parts == {0: 0, 49: 0, 50: 1, 51: 1, 52: None, 53: 1, 54: None, 70: 1, 71: None}
    assert [journal.is_reported(part) for part in range(3)] == [True, False, False]


@pytest.mark.parametrize("rest", [b"o4 [nu", b"p1 2-", b"d", b"o", b"\xff", b"s{"])
def test_an_incomplete_last_line_is_ignored_and_removed(tmp_path, reopen, rest):
    reopen().add(OUTCOME)
    whole = (tmp_path / "journal").read_bytes()
    with (tmp_path / "journal").open("ab") as file:
        file.write(rest)
    journal = reopen()
    assert (tmp_path / "journal").read_bytes() == whole
    journal.begin_part(0, [3])
    journal = reopen()
    assert journal.find(RECORD) is not None
    assert journal.part_sizes == {0: 1}


@pytest.mark.parametrize("rest", [b"\x00\x00\n", b"zzz\n", b"p1 x\n", b"dx\n\x00o1 []\n"])
def test_damaged_lines_after_the_last_part_are_skipped(tmp_path, reopen, rest):
    (tmp_path / "journal").write_bytes(b"p0 0-1\n" + rest)
    assert reopen().part_sizes == {0: 2}


@pytest.mark.parametrize("line", [b"o3 nonsense\n", b"o\n", b"ox []\n"])
def test_a_record_whose_outcome_is_damaged_is_processed_again(tmp_path, reopen, line):
    (tmp_path / "journal").write_bytes(line + b"o9 [1]\np0 0-1\n")
    journal = reopen()
    assert journal.find(RECORD) is None
    assert journal.find(replace(RECORD, index=9)) is None
    assert journal.part_sizes == {0: 2}


@pytest.mark.parametrize("line", [b"\x00\x00\n", b"zzz\n", b"\n", b"px 5-6\n", b"dx\n", b"s{}\n"])
def test_a_damaged_line_before_a_part_is_an_error(tmp_path, reopen, line):
    (tmp_path / "journal").write_bytes(b"o9 [1]\n" + line + b"p0 0-1\n")
    with pytest.raises(WorldError, match="journal:2: the line is damaged"):
        reopen()


def test_outcomes_without_a_spool_are_an_error(tmp_path, reopen):
    reopen().add(OUTCOME)
    with pytest.raises(WorldError, match="the line of the spool is missing"):
        reopen().spool(tmp_path / "spool")


def test_a_write_that_fails_leaves_no_half_line(tmp_path, reopen):
    journal = reopen()
    journal.add(OUTCOME)
    whole = (tmp_path / "journal").read_bytes()
    os.close(journal._file)
    journal._file = os.open(tmp_path / "journal", os.O_RDONLY)
    with pytest.raises(WorldError, match="journal"):
        journal.add(OUTCOME)
    assert (tmp_path / "journal").read_bytes() == whole


def test_a_complete_spool_is_not_extracted_again(tmp_path, reopen):
    def fail():
        raise AssertionError
        yield

    spool = RunSpool(tmp_path, reopen())
    written = spool.open(iter([{"a": 1}, {"a": None, "b": ""}]))
    assert RunSpool(tmp_path, reopen()).open(iter([{"c": 2}])).fields == ("c",)  # not complete
    spool = RunSpool(tmp_path, reopen())
    written = spool.open(iter([{"a": 1}, {"a": None, "b": ""}]))
    spool.keep()
    found = RunSpool(tmp_path, reopen()).open(fail())
    assert found == written == Spool.load(written.path)
    assert list(found.rows()) == [{"a": 1}, {"a": None, "b": ""}]


def test_the_journal_of_many_records_is_small_in_memory(reopen):
    journal = reopen()
    for start in range(0, 5000, 50):
        journal.begin_part(start // 50, array("q", range(start, start + 50)))
    assert len(reopen()._ranges) == 100


FREE = RecordOutcome(RECORD, Output({"a": 1}, "", "embedded/icl", cost=0.0))


def test_an_outcome_without_cost_waits_for_the_next_line(tmp_path, reopen):
    journal = reopen()
    journal.add(FREE)
    assert (tmp_path / "journal").read_bytes() == b""
    journal.begin_part(0, [3])
    assert (tmp_path / "journal").read_bytes().count(b"\n") == 2
    journal.add(replace(FREE, record=replace(RECORD, index=4)))
    journal = reopen()  # `close` writes the waiting outcome
    assert journal.find(RECORD) == replace(FREE, resumed=True)
    assert journal.find(replace(RECORD, index=4)).output == FREE.output


@pytest.mark.parametrize(
    "paid",
    [
        replace(FREE, output=replace(FREE.output, cost=0.001)),
        replace(FREE, output=replace(FREE.output, cost=None)),
        replace(FREE, assessments=(Assessment("a", 0.5, score=Score(1.0, "", cost=1.0, calls=1)),)),
        replace(FREE, discarded=(Assessment("a", 0.5, error="x", spent=CallTotals(
            cost=None, calls=1)),)),
    ],
)  # fmt: skip
def test_a_paid_outcome_is_written_at_once(tmp_path, reopen, paid):
    reopen().add(paid)
    assert (tmp_path / "journal").read_bytes().count(b"\n") == 1


REPLY = {"text": "ü\n", "model": "m", "usage": {"input": 1, "output": 2, "cached": 0}, "cost": 0.5}


def test_the_replies_of_a_lost_record_come_back_once_and_in_order(reopen):
    journal = reopen()
    for number, key in enumerate(["a", "b", "a"]):
        journal.add_reply(3, key, {**REPLY, "text": str(number)})
    journal.add_reply(4, "a", REPLY)
    assert journal.take_reply(3, "a") is None  # this attempt has paid for it
    for _ in range(2):
        journal = reopen()
        taken = [journal.take_reply(3, key) for key in ("a", "b", "a", "a", "c")]
        assert [reply and reply["text"] for reply in taken] == ["0", "1", "2", None, None]
        assert journal.take_reply(4, "a") == REPLY
        assert journal.take_reply(5, "a") is None
    assert journal.spent == 2.0
    journal.add(OUTCOME)
    journal.add_reply(3, "d", {**REPLY, "cost": None})
    journal = reopen()
    assert journal.take_reply(3, "a") is None
    assert journal.take_reply(3, "d") == {**REPLY, "cost": None}
    assert journal.spent is None


def test_a_damaged_reply_is_paid_again(reopen, tmp_path):
    reopen().add_reply(3, "a", REPLY)
    journal = reopen()
    journal.begin_part(0, [1])
    path = tmp_path / "journal"
    path.write_bytes(path.read_bytes().replace(b'"cost"', b'"cos'))
    journal = reopen()
    assert journal.take_reply(3, "a") is None
    assert journal.part_sizes == {0: 1}


def test_replies_without_a_spool_are_those_of_other_records(reopen, tmp_path):
    reopen().add_reply(3, "a", REPLY)
    with pytest.raises(WorldError, match="the line of the spool is missing"):
        reopen().spool(tmp_path / "spool")


def test_outcomes_of_this_attempt_are_found_after_they_are_read_again(reopen):
    journal = reopen()
    records = [Record(index, f"r-{index}", {}) for index in range(3)]
    for record in records:
        journal.add(RecordOutcome(record, Output({"n": record.index}, "t", "m")))
    journal.begin_part(0, [0, 1, 2])
    journal.add(RecordOutcome(records[1], Output({"n": "new"}, "t", "m")))
    assert journal.find(records[1]) is None
    journal.reread({1, 2})
    found = [journal.find(record) for record in records]
    assert found[0] is None
    assert [outcome.output.fields["n"] for outcome in found[1:]] == ["new", 2]
