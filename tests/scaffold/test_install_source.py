"""What `direct_url.json` (PEP 610) says of an installation, as a requirement for pip."""

import json

import pytest

from loomgit.scaffold.install_source import find_install_source, parse_install_source
from loomgit.scaffold.project import framework_files, github_files

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def git_record(url, **more):
    vcs = {"vcs": "git", "commit_id": COMMIT, "requested_revision": "main"}
    return json.dumps({"url": url, "vcs_info": vcs, **more})


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://git.example.org/o/loom.git", "https://git.example.org/o/loom.git"),
        ("https://user:secret@git.example.org/o/loom.git", "https://git.example.org/o/loom.git"),
        ("https://secret@git.example.org/o/loom.git", "https://git.example.org/o/loom.git"),
        ("ssh://git@git.example.org/o/loom.git", "ssh://git@git.example.org/o/loom.git"),
        ("ssh://git:secret@git.example.org/o/loom.git", "ssh://git.example.org/o/loom.git"),
        ("https://git.example.org/o/a b'$(x)${{y}}.git", None),
    ],
)
def test_a_repository_is_installed_at_its_commit_without_credentials(url, address):
    source = parse_install_source(git_record(url))
    assert not source.is_local
    assert "secret" not in source.requirement
    assert not set("'\"$`{} ") & set(source.requirement.removeprefix("loom-aietl @ "))
    if address is not None:
        assert source.requirement == f"loom-aietl @ git+{address}@{COMMIT}"


def test_a_subfolder_of_a_repository_is_kept():
    source = parse_install_source(git_record("https://git.example.org/o", subdirectory="a/b"))
    assert source.requirement.endswith(f"@{COMMIT}#subdirectory=a/b")


def test_an_index_is_named_by_the_exact_version():
    assert parse_install_source(None, "1.2.3").requirement == "loom-aietl==1.2.3"


def test_an_archive_keeps_its_hash():
    record = {"url": "https://example.org/l.whl", "archive_info": {"hashes": {"sha256": "ab"}}}
    source = parse_install_source(json.dumps(record))
    assert source.requirement == "loom-aietl @ https://example.org/l.whl#sha256=ab"


@pytest.mark.parametrize(
    "record",
    [
        '{"url": "file:///a%20b/loom", "dir_info": {"editable": true}}',
        '{"url": "file:///a%20b/loom", "archive_info": {}}',
        git_record("file:///a%20b/loom"),
    ],
)
def test_a_path_of_this_machine_is_local(record):
    source = parse_install_source(record)
    assert (source.requirement, source.is_local) == ("/a b/loom", True)
    assert source.command == "python -m pip install '/a b/loom'"


@pytest.mark.parametrize("record", ["", "[]", "{}", '{"url": 1}', '{"url": "https://x"}', "{"])
def test_a_damaged_record_counts_as_local(record):
    assert parse_install_source(record).is_local


def test_the_generated_files_install_from_the_source():
    remote = parse_install_source(git_record("https://git.example.org/o/loom.git"))
    for file in (*github_files(".", remote), *framework_files(".", remote)):
        assert f'"loom-aietl @ git+https://git.example.org/o/loom.git@{COMMIT}"' in file.text
        assert "FILL IN" not in file.text
        assert "@PACKAGE@" not in file.text


def test_a_local_source_leaves_one_marked_line_in_each_workflow():
    local = parse_install_source('{"url": "file:///loom", "dir_info": {}}')
    for file in github_files(".", local):
        (line,) = [line for line in file.text.splitlines() if "FILL IN" in line]
        assert line.strip().startswith('PACKAGE: "" # FILL IN')
        assert "/loom" not in line.partition("FILL IN")[0]
    (config,) = framework_files(".", local)
    assert "language: system" in config.text


def test_the_running_installation_has_a_source():
    assert find_install_source().requirement
