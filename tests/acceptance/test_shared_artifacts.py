"""Shared artifacts through the command: hashes, dependents, and the example of the document."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.command import loom
from tests.loop_apps import (
    SENTIMENT,
    SPAM,
    SPECIFICATIONS,
    make_repository,
    shared_files,
)
from tests.repos import write

EMAIL = "spam-detector-email"
MODEL = "artifacts/models/spam-classifier-base-v2"
VECTORIZER = "artifacts/vectorizers/tfidf-english-v1.pkl"


def ok(project, *arguments, code=0):
    done = loom(project, *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def document(project, *arguments, code=0):
    return json.loads(ok(project, *arguments, "--json", code=code))


def digest(project, path):
    done = loom(project, "app", "audit", path, "--json")
    return json.loads(done.stdout)["artifacts"][0]["sha256"]


@pytest.fixture
def project(tmp_path, in_process):
    """An app whose v1 has the dependencies as they are in the document, and v2 the real hashes."""
    project = make_repository(tmp_path / "project", **shared_files())
    spec = project / "specs/email.yaml"
    text = SPECIFICATIONS[SPAM].replace(SPAM, EMAIL)
    spec.write_text(text, encoding="utf-8")
    folder = str(project / "artifact")
    ok(project, "app", "create", EMAIL, "--spec", str(spec), "--artifact", folder)
    dependencies = project / "artifact/dependencies.yaml"
    real = dependencies.read_text(encoding="utf-8")
    real = real.replace("abc123def456...", digest(project, f"/shared/{MODEL}/"))
    real = real.replace("789ghi012jkl...", digest(project, f".loom/shared/{VECTORIZER}"))
    dependencies.write_text(real, encoding="utf-8")
    ok(project, "app", "add", EMAIL, "--artifact", folder)
    return project


def run(project, text, *, version="v2", code=0):
    value = json.dumps({"text": text})
    done = loom(project, "app", "run", EMAIL, "--version", version, "--input", value, "--json")
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def test_the_program_of_the_document_loads_its_artifacts(project, in_process):
    outputs = [run(project, text)["executions"][0] for text in ("win", "lottery", "lunch")]
    assert [(each["output"], each["details"]) for each in outputs] == [
        ("spam", {"confidence": 0.9, "reason": "base_model"}),
        ("spam", {"confidence": 0.95, "reason": "custom_rule"}),
        ("ham", {"confidence": 0.8, "reason": "base_model"}),
    ]
    host, _ = in_process[-1]
    assert host.closed


def test_the_mounts_are_the_declared_artifacts(project, monkeypatch):
    from loomgit.workflows.apps import execute

    opened = []

    def refuse(files, **_):
        opened.append(files)
        raise RuntimeError

    monkeypatch.setattr(execute, "open_program_host", refuse)
    loom(project, "app", "run", EMAIL, "--version", "v2", "--input", "{}")
    shared = project / ".loom/shared"
    assert opened[0].mounts == {
        f"/loopai-data/shared/{MODEL}": shared / MODEL,
        f"/loopai-data/shared/{VECTORIZER}": shared / VECTORIZER,
    }
    assert opened[0].artifact == project / f".loom/loop-apps/{EMAIL}/artifacts/v2"


def test_a_hash_that_differs_names_the_app_the_artifact_and_both_hashes(project, in_process):
    error = run(project, "win", version="v1", code=2)["error"]["message"]
    found = digest(project, MODEL)
    assert error == (
        f"{EMAIL} v1: the shared artifact spam-classifier-base@v2 (.loom/shared/{MODEL}) differs: "
        f"expected sha256:abc123def456..., found sha256:{found}"
    )
    assert in_process == []


def test_a_changed_artifact_stops_its_apps_and_no_others(project, in_process):
    spec = str(project / f"specs/{SENTIMENT}.yaml")
    program = str(project / "programs/polite.py")
    ok(project, "app", "create", SENTIMENT, "--spec", spec, "--program", program)
    path = project / f".loom/shared/{VECTORIZER}"
    whole = path.read_bytes()
    path.write_bytes(whole + b" ")
    message = run(project, "win", code=2)["error"]["message"]
    assert "the shared artifact tfidf-english@v1" in message
    assert "differs: expected sha256:" in message
    value = ("--version", "v1", "--input", '{"feedback": "good"}')
    assert ok(project, "app", "run", SENTIMENT, *value) == "positive\n"
    found = document(project, "validate", code=2)
    assert {app["app"]: app["valid"] for app in found["apps"]} == {EMAIL: False, SENTIMENT: True}
    path.unlink()
    assert "is missing: expected sha256:" in run(project, "win", code=2)["error"]["message"]
    path.write_bytes(whole)
    run(project, "win")


def test_who_depends_on_an_artifact(project):
    found = document(project, "app", "audit", "tfidf-english", code=1)
    (artifact,) = found["artifacts"]
    assert artifact["path"] == VECTORIZER
    assert [(each["app"], each["version"], each["matches"]) for each in artifact["dependents"]] == [
        (EMAIL, "v1", False),
        (EMAIL, "v2", True),
    ]
    assert len(found["faults"]) == 1
    same = document(project, "app", "audit", "tfidf-english@v1", code=1)
    assert same == document(project, "app", "audit", f"/shared/{VECTORIZER}", code=1) == found
    everything = document(project, "app", "audit", code=1)
    assert [each["path"] for each in everything["artifacts"]] == [MODEL, VECTORIZER]
    text = ok(project, "app", "audit", "tfidf-english", code=1)
    assert f"❌ {EMAIL} v1 (draft): tfidf-english@v1" in text
    assert f"✅ {EMAIL} v2 (draft): tfidf-english@v1" in text
    unused = ok(project, "app", "audit", "/shared/datasets/common-spam-examples")
    assert "no version depends on it" in unused
    done = loom(project, "app", "audit", "tfidf-englsh")
    assert (done.returncode, "did you mean 'tfidf-english'?" in done.stderr) == (2, True)
    assert loom(project, "app", "audit", "../../config.yaml").returncode == 2


def test_a_deprecated_version_may_lack_its_artifacts(project):
    assert loom(project, "validate").returncode == 2
    ok(project, "app", "deprecate", EMAIL, "v1")
    found = document(project, "app", "audit")
    assert [each["matches"] for each in found["artifacts"][0]["dependents"]] == [False, True]
    assert found["faults"] == []
    ok(project, "validate")
    ok(project, "app", "show", EMAIL)
    assert "differs" in run(project, "win", version="v1", code=2)["error"]["message"]


def test_the_documented_command_gives_the_hash_of_a_folder(project):
    page = (Path(__file__).parents[2] / "docs/apps.md").read_text(encoding="utf-8")
    (line,) = [line for line in page.splitlines() if "xargs -0 sha256sum" in line]
    folder = project / ".loom/shared" / MODEL
    done = subprocess.run(line, shell=True, cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == digest(project, MODEL)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("dependencies.yaml", "shared: []\n", "dependencies.yaml:1:1: shared: unknown key"),
        (
            "dependencies.yaml",
            "local_artifacts:\n  - {type: rules, path: none.json}\n",
            "dependencies.yaml:2:19: local_artifacts: none.json: no such file",
        ),
        ("program.py", "x = 1\n", "program.py:1:1: defines no function execute(input_data)"),
    ],
)
def test_an_invalid_folder_is_refused(project, name, content, message):
    write(project / "artifact", {name: content})
    done = loom(project, "app", "add", EMAIL, "--artifact", str(project / "artifact"))
    assert done.returncode == 2
    assert message in done.stderr
    assert not (project / f".loom/loop-apps/{EMAIL}/artifacts/v3").exists()


def test_links_are_refused(project):
    (project / "artifact/link").symlink_to("/etc/passwd")
    done = loom(project, "app", "add", EMAIL, "--artifact", str(project / "artifact"))
    assert (done.returncode, "is a symbolic link" in done.stderr) == (2, True)
    (project / f".loom/shared/{MODEL}/link").symlink_to("/etc/passwd")
    assert "is a symbolic link" in run(project, "win", code=2)["error"]["message"]
