import hashlib
import os
import subprocess
import time

import pytest

from loomgit.errors import UserError
from loomgit.history.file_hashes import FileHashes, list_files, sha256_of

OLD = time.time() - 3600


def write(path, content, at=OLD):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (at, at))


def test_the_hash_of_a_file(tmp_path):
    write(tmp_path / "a", b"content")
    assert FileHashes().sha256(tmp_path / "a") == hashlib.sha256(b"content").hexdigest()


def test_the_hash_of_a_folder_is_the_documented_one(tmp_path):
    for name in ("model.pkl", "config.json", "b/x", "b-a", "b/é", "B", "sub/sub/y z"):
        write(tmp_path / name, name.encode())
    write(tmp_path / "__pycache__/x.pyc", b"x")
    write(tmp_path / "sub/__pycache__/rules.json", b"x")
    write(tmp_path / "x.pyc", b"x")
    command = (
        "find . -type f -not -path '*/__pycache__/*.pyc' -printf '%P\\0' | LC_ALL=C sort -z"
        " | xargs -0 sha256sum | sha256sum"
    )
    done = subprocess.run(
        command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert FileHashes().sha256(tmp_path) == done.stdout.split()[0]


@pytest.mark.parametrize("change", ["content", "name", "new", "gone"])
def test_every_change_of_a_folder_changes_its_hash(tmp_path, change):
    write(tmp_path / "a", b"1")
    write(tmp_path / "b", b"2")
    hashes = FileHashes()
    before = hashes.sha256(tmp_path)
    if change == "content":
        write(tmp_path / "a", b"3")
    elif change == "name":
        (tmp_path / "a").rename(tmp_path / "c")
    elif change == "new":
        write(tmp_path / "c", b"")
    else:
        (tmp_path / "a").unlink()
    assert hashes.sha256(tmp_path) != before


def test_a_file_is_read_once_for_each_state(tmp_path):
    path = tmp_path / "a"
    write(path, b"1")
    hashes = FileHashes()
    first = hashes.sha256(path)
    state, _ = hashes._known[str(path)]
    hashes._known[str(path)] = (state, "kept")
    assert hashes.sha256(path) == "kept"  # not read again
    write(path, b"2")  # the same size and the same modification time
    assert hashes.sha256(path) not in (first, "kept")


def test_a_file_that_has_just_changed_is_read_again(tmp_path):
    path = tmp_path / "a"
    write(path, b"1", time.time() + 60)
    hashes = FileHashes()
    hashes.sha256(path)
    assert hashes._known == {}


def test_links_and_missing_files(tmp_path):
    write(tmp_path / "folder/a", b"1")
    hashes = FileHashes()
    with pytest.raises(UserError, match="does not exist"):
        hashes.sha256(tmp_path / "none")
    (tmp_path / "folder/link").symlink_to("/etc/passwd")
    with pytest.raises(UserError, match="is a symbolic link"):
        hashes.sha256(tmp_path / "folder")
    (tmp_path / "folder/link").unlink()
    (tmp_path / "folder/link").symlink_to(tmp_path)
    with pytest.raises(UserError, match="is a symbolic link"):
        list_files(tmp_path / "folder")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="is not a regular file"):
        hashes.sha256(tmp_path / "pipe")


def test_sha256_of_bytes():
    assert sha256_of(b"") == hashlib.sha256().hexdigest()
