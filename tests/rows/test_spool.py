"""The extraction on disk."""

import hashlib

import orjson
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from loomgit.errors import UserError, WorldError
from loomgit.rows.spool import Spool

ROWS = [{"id": 1, "text": "é"}, {"text": "x", "id": 2, "late": [None]}]

values = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=8)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.dictionaries(st.text(max_size=4), values, max_size=4), max_size=6))
def test_rows_come_back_as_they_were_and_the_facts_about_them_are_right(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("spool") / "rows.zst"
    spool = Spool.write(path, iter(rows))
    lines = b"".join(orjson.dumps(row) + b"\n" for row in rows)
    assert list(spool.rows()) == rows
    assert (spool.count, spool.bytes) == (len(rows), len(lines))
    assert spool.sha256 == hashlib.sha256(lines).hexdigest()
    assert spool.fields == tuple(dict.fromkeys(name for row in rows for name in row))
    assert Spool.load(path) == spool


def test_many_rows_pass_through_in_pieces(tmp_path):
    rows = [{"id": n, "text": str(n) * 50} for n in range(30000)]
    spool = Spool.write(tmp_path / "deep" / "rows.zst", rows)
    assert list(spool.rows()) == rows
    assert Spool.load(spool.path) == spool
    assert spool.path.stat().st_size < spool.bytes / 4


def test_a_source_that_fails_leaves_no_spool_and_its_own_error(tmp_path):
    def failing():
        yield ROWS[0]
        raise UserError("a.csv:3: no")

    with pytest.raises(UserError, match=r"a\.csv:3"):
        Spool.write(tmp_path / "rows.zst", failing())
    assert list(tmp_path.iterdir()) == []


def cut(raw):
    return raw[: len(raw) // 2]


def flipped(raw):
    middle = len(raw) // 2
    return raw[:middle] + bytes([raw[middle] ^ 0xFF]) + raw[middle + 1 :]


def other(raw):
    return zstandard.compress(b'{"id":9}\n')


def no_end(raw):
    return zstandard.compress(zstandard.decompress(raw, max_output_size=10**6)[:-1])


@pytest.mark.parametrize("damage", [cut, flipped, other, no_end, lambda raw: raw[:-1]])
def test_damage_is_found_while_reading(tmp_path, damage):
    spool = Spool.write(tmp_path / "rows.zst", [{"id": n, "t": hex(n**9)} for n in range(500)])
    raw = spool.path.read_bytes()
    spool.path.write_bytes(damage(raw))
    with pytest.raises(WorldError, match="the spool is damaged"):
        list(spool.rows())


@pytest.mark.parametrize("raw", [b"", b"no zstd", zstandard.compress(b"[1]\n")])
def test_what_is_no_spool_is_not_loaded(tmp_path, raw):
    (tmp_path / "rows.zst").write_bytes(raw)
    with pytest.raises(WorldError, match="the spool is damaged"):
        Spool.load(tmp_path / "rows.zst")


def test_a_missing_spool_is_no_traceback(tmp_path):
    with pytest.raises(WorldError, match=r"rows\.zst: No such file"):
        Spool.load(tmp_path / "rows.zst")
