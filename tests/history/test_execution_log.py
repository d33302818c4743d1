import json
import stat
import threading

import pytest

from loomgit.domain.safe_text import remember
from loomgit.errors import WorldError
from loomgit.history.execution_log import append_executions

DAY = "2026-11-30"


def lines(folder):
    text = (folder / f"executions/{DAY}.jsonl").read_text(encoding="utf-8")
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def test_lines_are_appended_and_only_their_owner_reads_them(tmp_path):
    append_executions(tmp_path, DAY, [])
    assert list(tmp_path.iterdir()) == []
    append_executions(tmp_path, DAY, [{"n": 1}])
    append_executions(tmp_path, DAY, [{"n": 2}, {"n": "é\n"}])
    assert lines(tmp_path) == [{"n": 1}, {"n": 2}, {"n": "é\n"}]
    mode = (tmp_path / f"executions/{DAY}.jsonl").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_a_torn_line_does_not_damage_the_next_one(tmp_path):
    append_executions(tmp_path, DAY, [{"n": 1}])
    path = tmp_path / f"executions/{DAY}.jsonl"
    path.write_bytes(path.read_bytes() + b'{"n": 2')
    append_executions(tmp_path, DAY, [{"n": 3}])
    assert path.read_text() == '{"n":1}\n{"n": 2\n{"n":3}\n'


def test_several_writers_at_once(tmp_path):
    def write(writer):
        for number in range(50):
            append_executions(tmp_path, DAY, [{"writer": writer, "n": number, "text": "x" * 500}])

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = lines(tmp_path)
    assert len(found) == 200
    for writer in range(4):
        assert [line["n"] for line in found if line["writer"] == writer] == list(range(50))


def test_known_secrets_are_masked(tmp_path):
    remember("a-secret-of-the-project-1")
    append_executions(tmp_path, DAY, [{"input": {"text": "key a-secret-of-the-project-1"}}])
    assert lines(tmp_path) == [{"input": {"text": "key ***"}}]


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "executions").touch()
    with pytest.raises(WorldError, match="cannot be written"):
        append_executions(tmp_path, DAY, [{}])
