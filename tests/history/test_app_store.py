"""The files of loop apps: their layout, and what crashes and other processes cannot break."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from loomgit.domain.apps import VersionMetadata
from loomgit.errors import UserError, WorldError
from loomgit.history import app_store
from loomgit.history.app_store import AppStore
from loomgit.history.file_hashes import sha256_of
from loomgit.history.loom_folder import IGNORED
from tests.repos import commit, git, make

APP = "spam-detector-001"
PROGRAM = {"program.py": b"def execute(value): return 1\n"}


def describe(name, files=PROGRAM, app=APP):
    hashes = {path: sha256_of(content) for path, content in files.items()}
    return VersionMetadata(app, name, "2026-11-30T10:00:00Z", "manual", hashes)


@pytest.fixture
def store(tmp_path):
    store = AppStore(tmp_path / ".loom")
    store.create(APP, f"id: {APP}\n", PROGRAM, describe("v1"))
    return store


def files(store):
    folder = store.folder
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def states(store):
    return [(version.name, version.state) for version in store.versions(APP).versions]


def activate(store, name):
    def change(versions):
        changed = tuple(
            replace(each, state="active" if each.name == name else "validated")
            for each in versions.versions
        )
        return replace(versions, versions=changed, active=name, earlier=("v1",))

    return store.change_versions(APP, change)


def test_the_layout_on_disk(store):
    assert store.add_version(APP, {**PROGRAM, "rules/a.json": b"{}"}, describe) == "v2"
    activate(store, "v2")
    root = f"loop-apps/{APP}"
    assert files(store) == [
        ".gitignore",
        "loop-apps/.gitattributes",
        f"{root}/artifacts/active",
        f"{root}/artifacts/v1/metadata.json",
        f"{root}/artifacts/v1/program.py",
        f"{root}/artifacts/v2/metadata.json",
        f"{root}/artifacts/v2/program.py",
        f"{root}/artifacts/v2/rules/a.json",
        f"{root}/config.yaml",
        f"{root}/versions.json",
    ]
    assert (store.folder / root / "artifacts/active").read_text() == "v2\n"
    assert states(store) == [("v1", "validated"), ("v2", "active")]
    metadata = json.loads((store.folder / root / "artifacts/v1/metadata.json").read_text())
    assert metadata["files"] == {"program.py": sha256_of(PROGRAM["program.py"])}
    assert store.metadata(APP, "v1") == describe("v1")
    assert store.versions(APP).earlier == ("v1",)
    assert store.names() == [APP]


def test_an_app_is_created_once_and_as_a_whole(store, monkeypatch):
    with pytest.raises(UserError, match="already exists") as caught:
        store.create(APP, "other", PROGRAM, describe("v1"))
    assert f"loom app add {APP}" in caught.value.hint
    assert (store.app_folder(APP) / "config.yaml").read_text() == f"id: {APP}\n"

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WorldError, match="No space left"):
        store.create("other-001", "", PROGRAM, describe("v1", app="other-001"))
    assert store.names() == [APP]
    assert {path.name for path in (store.folder / "loop-apps").iterdir()} == {".gitattributes", APP}


ADD = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.history.test_app_store import APP, PROGRAM, describe
from loomgit.history.app_store import AppStore
for _ in range(6):
    print(AppStore(Path({folder!r})).add_version(APP, PROGRAM, describe))
"""


def start(script, store):
    root = str(Path(__file__).parents[2])
    text = script.format(root=root, folder=str(store.folder))
    return subprocess.Popen(
        [sys.executable, "-c", text], stdout=subprocess.PIPE, text=True, cwd=root
    )


def test_processes_that_add_versions_get_different_numbers(store):
    processes = [start(ADD, store) for _ in range(3)]
    names = [name for process in processes for name in process.communicate()[0].split()]
    assert set(names) == {f"v{n}" for n in range(2, 20)}
    assert len(names) == 18
    versions = store.versions(APP)
    assert [version.name for version in versions.versions] == [f"v{n}" for n in range(1, 20)]
    assert all(version.metadata_sha256 for version in versions.versions)


DIE = """
import os, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.history.test_app_store import APP, PROGRAM, describe
from loomgit.history.app_store import AppStore

class Dying(dict):
    def items(self):
        yield "program.py", PROGRAM["program.py"]
        os._exit(9)

    def keys(self):
        return ()

import loomgit.history.new_folder as new_folder
write = new_folder.write_folder
import loomgit.history.app_store as app_store
app_store.write_folder = lambda target, files: write(target, Dying())
AppStore(Path({folder!r})).add_version(APP, PROGRAM, describe)
"""


def test_a_killed_writer_leaves_no_half_version(store):
    process = start(DIE, store)
    process.communicate()
    assert process.returncode == 9
    artifacts = store.app_folder(APP) / "artifacts"
    assert any(path.name.startswith(".v2.") for path in artifacts.iterdir())
    assert states(store) == [("v1", "draft")]
    assert store.add_version(APP, PROGRAM, describe) == "v2"  # the lock of the dead is free
    assert sorted(path.name for path in artifacts.iterdir()) == ["v1", "v2"]


def test_a_crash_between_a_version_and_its_entry_loses_neither(store):
    store.add_version(APP, PROGRAM, describe)
    entries = store.app_folder(APP) / "versions.json"
    document = json.loads(entries.read_text())
    del document["versions"]["v2"]
    entries.write_text(json.dumps(document))
    assert states(store) == [("v1", "draft"), ("v2", "draft")]
    assert store.add_version(APP, PROGRAM, describe) == "v3"


def test_a_number_is_never_used_twice(store):
    store.add_version(APP, PROGRAM, describe)
    folder = store.version_folder(APP, "v2")
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert store.versions(APP).missing == ("v2",)
    assert store.add_version(APP, PROGRAM, describe) == "v3"


def test_a_link_that_somebody_made_names_the_active_version(store):
    active = store.app_folder(APP) / "artifacts/active"
    active.symlink_to("v1/")
    assert store.versions(APP).active == "v1"
    store.add_version(APP, PROGRAM, describe)
    activate(store, "v2")
    assert not active.is_symlink()
    assert active.read_text() == "v2\n"
    assert (store.version_folder(APP, "v1") / "program.py").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("v7\n", "artifacts/active: the version v7 does not exist"),
        ("", "artifacts/active: expected one line"),
        ("<<<<<<< HEAD\nv1\n=======\nv2\n>>>>>>> b\n", "artifacts/active: expected one line"),
        ("../v1", "artifacts/active: expected one line"),
    ],
)
def test_a_damaged_name_of_the_active_version(store, content, message):
    (store.app_folder(APP) / "artifacts/active").write_text(content)
    with pytest.raises(UserError, match=message):
        store.versions(APP)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "versions.json: is damaged"),
        ("[]", "versions.json: is damaged"),
        ('{"versions": {"v1": {"state": "lost"}}}', "versions.json: is damaged"),
        ('{"schema_version": 2}', "its format is 2"),
        ("<<<<<<< HEAD", "versions.json: is damaged"),
    ],
)
def test_damaged_states_are_not_overwritten(store, content, message):
    path = store.app_folder(APP) / "versions.json"
    path.write_text(content)
    for call in (
        lambda: store.versions(APP),
        lambda: store.add_version(APP, PROGRAM, describe),
        lambda: store.change_versions(APP, lambda versions: versions),
    ):
        with pytest.raises(UserError, match=message):
            call()
    assert path.read_text() == content
    assert not store.version_folder(APP, "v2").exists()


@pytest.mark.parametrize("name", ["artifacts/active", "versions.json"])
def test_a_folder_in_the_place_of_a_file(store, name):
    path = store.app_folder(APP) / name
    path.unlink(missing_ok=True)
    path.mkdir()
    with pytest.raises(UserError, match=f"{name}: is a folder, not a file"):
        store.versions(APP)


def test_a_file_in_the_place_of_a_folder(tmp_path):
    store = AppStore(tmp_path / ".loom")
    (store.folder / "loop-apps" / APP).mkdir(parents=True)
    (store.app_folder(APP) / "artifacts").touch()
    with pytest.raises(UserError, match=f"{APP}/artifacts: is a file, not a folder"):
        store.versions(APP)
    other = AppStore(tmp_path / "other/.loom")
    other.folder.mkdir(parents=True)
    (other.folder / "loop-apps").touch()
    for call in (other.names, lambda: other.create(APP, "", PROGRAM, describe("v1"))):
        with pytest.raises(UserError, match="loop-apps: is a file, not a folder"):
            call()


def test_an_error_of_a_change_changes_nothing(store):
    before = {path: (store.folder / path).read_bytes() for path in files(store)}

    def refuse(_):
        raise UserError("no")

    with pytest.raises(UserError, match="no"):
        store.change_versions(APP, refuse)
    assert {path: (store.folder / path).read_bytes() for path in files(store)} == before
    activate(store, "v1")  # the lock is free


def test_folders_that_loom_did_not_write(tmp_path):
    store = AppStore(tmp_path / ".loom")
    assert store.names() == []
    folder = store.app_folder(APP) / "artifacts"
    for name in ("v1", "v3", "v10", "draft", "v01"):
        (folder / name).mkdir(parents=True)
        (folder / name / "program.py").write_bytes(PROGRAM["program.py"])
    (store.app_folder(APP) / "config.yaml").touch()
    (store.folder / "loop-apps/no-config").mkdir()
    assert store.names() == [APP]
    versions = store.versions(APP)
    assert [each.name for each in versions.versions] == ["v1", "v3", "v10"]
    assert {each.metadata_sha256 for each in versions.versions} == {None}
    assert (versions.active, store.metadata(APP, "v1")) == (None, None)
    assert store.add_version(APP, PROGRAM, describe) == "v11"


def test_an_existing_gitignore_gets_the_data_sets(tmp_path):
    store = AppStore(tmp_path / ".loom")
    store.folder.mkdir()
    (store.folder / ".gitignore").write_bytes(b"/runs/")
    store.create(APP, "", PROGRAM, describe("v1"))
    assert (store.folder / ".gitignore").read_bytes() == b"/runs/\n/loop-apps/*/datasets/\n"
    store.add_version(APP, PROGRAM, describe)
    assert (store.folder / ".gitignore").read_bytes().count(b"datasets") == 1
    assert b"/loop-apps/*/datasets/\n" in IGNORED


def test_git_ignores_data_sets_and_keeps_line_ends(tmp_path):
    repository = make(tmp_path / "project")
    content = {"program.py": b"def execute(value):\r\n    return 1\n"}
    commit(repository, {".gitattributes": "* text=auto eol=lf\n"}, "Begin")
    store = AppStore(repository / ".loom")
    store.create(APP, "", content, describe("v1", content))
    store.datasets(APP).mkdir()
    (store.datasets(APP) / "secret.jsonl").touch()
    commit(repository, {}, "Add")
    assert "datasets" not in git(repository, "ls-files")
    git(tmp_path, "clone", "--quiet", str(repository), "clone")
    cloned = AppStore(tmp_path / "clone/.loom").version_folder(APP, "v1") / "program.py"
    assert cloned.read_bytes() == content["program.py"]


def test_a_lock_that_another_process_holds(store, monkeypatch):
    monkeypatch.setattr(app_store, "LOCK_SECONDS", 0.05)
    with (
        store.lock(APP),
        pytest.raises(WorldError, match=f"the app {APP} is being changed by process {os.getpid()}"),
    ):
        store.add_version(APP, PROGRAM, describe)
    assert store.add_version(APP, PROGRAM, describe) == "v2"
