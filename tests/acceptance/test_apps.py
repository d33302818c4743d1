"""Loop apps through the command, in real repositories: three apps with their versions."""

import json
import subprocess
import sys

import pytest

from loomgit.config.app_model import parse_specification
from tests.command import loom
from tests.loop_apps import (
    CATEGORIES,
    SENTIMENT,
    SPAM,
    SPECIFICATIONS,
    make_repository,
)

PROGRAMS = {SPAM: "v1.py", SENTIMENT: "polite.py", CATEGORIES: "router.py"}


@pytest.fixture
def project(tmp_path):
    return make_repository(tmp_path / "project")


def ok(project, *arguments):
    done = loom(project, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def document(project, *arguments, code=0):
    done = loom(project, *arguments, "--json")
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def create(project, app=SPAM, program=None):
    program = project / "programs" / (program or PROGRAMS[app])
    spec = project / f"specs/{app}.yaml"
    return ok(project, "app", "create", app, "--spec", str(spec), "--program", str(program))


def add(project, program, app=SPAM):
    return ok(project, "app", "add", app, "--program", str(project / "programs" / program))


def activate(project, version, app=SPAM):
    examples = str(project / "examples.csv")
    ok(project, "app", "validate", app, "--version", version, "--examples", examples)
    ok(project, "app", "promote", app, version)


def run(project, value, *options, app=SPAM, code=0):
    arguments = ("app", "run", app, "--input", json.dumps(value), *options)
    return document(project, *arguments, code=code)["executions"][0]


def executions(project, app=SPAM):
    folder = project / f".loom/loop-apps/{app}/datasets/executions"
    return [
        json.loads(line)
        for path in sorted(folder.glob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]


def change_config(project, line, app=SPAM):
    path = project / f".loom/loop-apps/{app}/config.yaml"
    path.write_text(path.read_text(encoding="utf-8") + line, encoding="utf-8")


def test_three_apps_with_their_versions_side_by_side(project, in_process):
    for app in SPECIFICATIONS:
        create(project, app)
    add(project, "v2.py")
    add(project, "v3.py")
    offer = {"text": "An offer: win nothing"}
    found = {name: run(project, offer, "--version", name) for name in ("v1", "v2", "v3")}
    assert [each["output"] for each in found.values()] == ["spam", "spam", "spam"]
    assert found["v1"]["details"] == {}
    assert found["v3"]["details"] == {"confidence": 0.9, "reason": "2 words"}
    only_v3 = {"text": "An offer"}
    outputs = [run(project, only_v3, "--version", name)["output"] for name in ("v1", "v2", "v3")]
    assert outputs == ["ham", "ham", "spam"]
    feedback = ({"feedback": "All good"}, "--version", "v1")
    assert run(project, *feedback, app=SENTIMENT)["output"] == "positive"
    mail = ({"subject": "Now!", "body": ""}, "--version", "v1")
    assert run(project, *mail, app=CATEGORIES)["output"] == "urgent"
    listed = document(project, "app", "list")
    assert {app["id"]: app["versions"] for app in listed["apps"]} == {
        SPAM: 3,
        SENTIMENT: 1,
        CATEGORIES: 1,
    }
    assert listed == document(project, "app")  # the default command
    assert all(host.closed for host, _ in in_process)


def test_the_specifications_of_the_document_load_as_they_are_written():
    for app, text in SPECIFICATIONS.items():
        assert parse_specification(text, "spec.yaml", app).id == app


def test_the_life_of_a_version(project, in_process):
    create(project)
    add(project, "v2.py")
    refused = loom(project, "app", "run", SPAM, "--input", '{"text": "a"}')
    assert refused.returncode == 2
    assert f"the app {SPAM} has no active version" in refused.stderr
    refused = loom(project, "app", "promote", SPAM, "v1")
    assert refused.returncode == 2
    assert "v1 is a draft" in refused.stderr
    activate(project, "v1")
    activate(project, "v2")
    assert run(project, {"text": "free"})["output"] == "spam"
    back = document(project, "app", "rollback", SPAM)
    assert (back["version"], back["before"], back["active"]) == ("v1", "v2", "v1")
    assert run(project, {"text": "free"})["output"] == "ham"
    assert loom(project, "app", "rollback", SPAM).returncode == 2
    assert loom(project, "app", "deprecate", SPAM, "v1").returncode == 2
    ok(project, "app", "deprecate", SPAM, "v2")
    assert "v2 is deprecated" in loom(project, "app", "promote", SPAM, "v2").stderr
    done = ok(project, "app", "run", SPAM, "--version", "v2", "--input", '{"text": "a"}')
    assert "v2 is deprecated" in done.stderr
    shown = document(project, "app", "show", SPAM)
    assert [version["state"] for version in shown["versions"]] == ["active", "deprecated"]


def test_a_paused_or_archived_app_does_not_run(project, in_process):
    create(project)
    activate(project, "v1")
    before = (project / f".loom/loop-apps/{SPAM}/config.yaml").read_text()
    for command, state in (("pause", "paused"), ("archive", "archived")):
        assert document(project, "app", command, SPAM)["state"] == state
        refused = loom(project, "app", "run", SPAM, "--input", '{"text": "a"}')
        assert refused.returncode == 2
        assert f"the app {SPAM} is {state}" in refused.stderr
        assert loom(project, "app", command, SPAM).returncode == 2
    assert loom(project, "app", "pause", SPAM).returncode == 2
    ok(project, "app", "resume", SPAM)
    after = (project / f".loom/loop-apps/{SPAM}/config.yaml").read_text()
    assert after == before + "lifecycle: active\n"
    assert run(project, {"text": "win"})["output"] == "spam"


def test_targets_decide_whether_a_version_is_validated(project, in_process):
    create(project)
    change_config(project, "accuracy_target: 0.9\nlatency_target_ms: 1000\n")
    examples = str(project / "examples.csv")
    command = ("app", "validate", SPAM, "--examples", examples)
    missed = document(project, *command, code=1)
    assert (missed["passed"], missed["state"]) == (False, "draft")
    assert missed["reasons"] == ["accuracy 75.00% is below accuracy_target 90.00%"]
    assert [(each["number"], each["expected"], each["output"]) for each in missed["wrong"]] == [
        (3, "spam", "ham")
    ]
    text = loom(project, *command)
    assert "❌ accuracy 75.00% is below accuracy_target 90.00%" in text.stdout
    assert "example 3: expected spam, found ham" in text.stdout
    add(project, "v2.py")
    met = document(project, *command)
    assert (met["version"], met["before"], met["state"]) == ("v2", "draft", "validated")
    assert met["figures"]["accuracy"] == 1.0
    assert met["figures"]["examples_file"] == "examples.csv"
    assert executions(project) == []  # examples are no executions of users
    labels = ("--label", "sender")
    refused = loom(project, *command, *labels)
    assert refused.returncode == 2
    assert "example 1 has no field 'sender'" in refused.stderr


def test_targets_that_were_raised_later(project, in_process):
    create(project)
    examples = str(project / "examples.csv")
    ok(project, "app", "validate", SPAM, "--examples", examples)
    change_config(project, "accuracy_target: 0.9\n")
    done = loom(project, "app", "promote", SPAM, "v1")
    assert done.returncode == 2
    assert "accuracy 75.00% is below accuracy_target 90.00%" in done.stderr
    outside = project.parent / "other.csv"
    outside.write_text("text,label\nwin,spam\n", encoding="utf-8")
    found = document(project, "app", "validate", SPAM, "--examples", str(outside))
    assert found["figures"]["examples_file"] == "other.csv"
    ok(project, "app", "promote", SPAM, "v1")


def test_without_examples_only_the_files_are_checked(project, in_process):
    create(project)
    found = document(project, "app", "validate", SPAM)
    assert (found["state"], found["figures"], found["passed"]) == ("draft", None, True)
    assert in_process == []


def test_examples_without_labels_must_have_valid_outputs(project, in_process):
    create(project)
    lines = project / "inputs.jsonl"
    lines.write_text('{"text": "win"}\n{"sender": "a"}\n', encoding="utf-8")
    found = document(project, "app", "validate", SPAM, "--examples", str(lines), code=1)
    assert found["reasons"] == ["1 of 2 examples have no valid output"]
    assert found["wrong"][0]["error"] == "KeyError: 'text'"
    lines.write_text('{"text": "win"}\n', encoding="utf-8")
    assert document(project, "app", "validate", SPAM, "--examples", str(lines))["passed"]
    change_config(project, "accuracy_target: 0.5\n")
    refused = loom(project, "app", "validate", SPAM, "--examples", str(lines))
    assert refused.returncode == 2
    assert "the examples have no labels" in refused.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,label\na,eggs\n", 'the expected output of example 1 is invalid: "eggs"'),
        ("text,label\n", "contains no examples"),
        ('text,label\n"a\n', ":2: a quote is not closed"),
    ],
)
def test_invalid_examples(project, in_process, content, message):
    create(project)
    path = project / "bad.csv"
    path.write_text(content, encoding="utf-8")
    refused = loom(project, "app", "validate", SPAM, "--examples", str(path))
    assert refused.returncode == 2
    assert message in refused.stderr
    assert in_process == []


def test_failures_of_a_program_have_their_own_exit_code(project, in_process):
    create(project)
    add(project, "v2.py")
    wrong_input = run(project, {"text": 3}, "--version", "v2", code=2)
    assert wrong_input["status"] == "input"
    assert "the input does not match input_schema: text: 3 is not" in wrong_input["error"]
    assert wrong_input["isolation"] is None
    crash = run(project, {"sender": "a"}, "--version", "v2", code=1)
    assert (crash["status"], crash["error"]) == ("error", "KeyError: 'text'")
    bad = project / "programs/bad.py"
    bad.write_text("def execute(value): return {'result': 'eggs'}\n", encoding="utf-8")
    add(project, "bad.py")
    output = run(project, {"text": "a"}, "--version", "v3", code=1)
    assert output["status"] == "output"
    assert output["error"].startswith("the output does not match output_schema: result: ")
    text = loom(project, "app", "run", SPAM, "--version", "v3", "--input", "{}")
    assert text.stdout.startswith("❌ output: ")


def test_many_inputs_from_a_file(project, in_process):
    create(project)
    lines = project / "inputs.jsonl"
    lines.write_text('{"text": "win"}\n\n{"text": "lunch"}\n{"text": 1}\n', encoding="utf-8")
    command = ("app", "run", SPAM, "--version", "v1", "--file")
    done = loom(project, *command, str(lines))
    assert done.returncode == 2
    assert done.stdout.splitlines()[:2] == ["spam", "ham"]
    one = project / "input.json"
    one.write_text('{"text": "win"}', encoding="utf-8")
    assert ok(project, *command, str(one)).stdout == "spam\n"
    lines.write_text('{"text": "a"}\n{"text": \n', encoding="utf-8")
    refused = loom(project, *command, str(lines))
    assert (refused.returncode, len(in_process)) == (2, 2)
    assert "inputs.jsonl:2:" in refused.stderr
    assert "not JSON" in refused.stderr
    twice = loom(project, "app", "run", SPAM, "--version", "v1", "--input", '{"a": 1, "a": 2}')
    assert twice.returncode == 2
    assert "--input: has the key 'a' twice" in twice.stderr
    assert loom(project, "app", "run", SPAM, "--version", "v1").returncode == 2
    for file in (project / "specs", project / "none.json"):
        assert loom(project, *command, str(file)).returncode == 2


def test_the_log_contains_what_the_privacy_allows(project, in_process):
    create(project)
    value = {"text": "win", "sender": "ada@example.org"}
    run(project, value, "--version", "v1")
    change_config(project, "privacy: balanced\n")
    done = ok(project, "app", "run", SPAM, "--version", "v1", "--input", json.dumps(value))
    assert "cannot mask personal data" in done.stderr
    lines = executions(project)
    assert len(lines) == 2
    assert "ada" not in json.dumps(lines)
    assert lines[0]["input_hash"] == lines[1]["input_hash"]
    config = project / f".loom/loop-apps/{SPAM}/config.yaml"
    config.write_text(config.read_text().replace("balanced", "permissive"), encoding="utf-8")
    execution = run(project, value, "--version", "v1")
    line = executions(project)[-1]
    assert (line["input"], line["output"]) == (value, "spam")
    assert line["execution_id"] == execution["execution_id"]


def test_a_log_that_cannot_be_written_loses_no_output(project, in_process):
    create(project)
    (project / f".loom/loop-apps/{SPAM}/datasets").touch()
    done = ok(project, "app", "run", SPAM, "--version", "v1", "--input", '{"text": "win"}')
    assert done.stdout == "spam\n"
    assert "warning: the executions are not logged" in done.stderr


def test_the_host_gets_the_settings_of_the_app(project, in_process):
    create(project)
    change_config(project, "limits: {wall: 1s, memory: 64MB}\nworker: fork\n")
    run(project, {"text": "a"}, "--version", "v1", "--isolation", "landlock")
    options = in_process[-1][1]
    assert (options["isolation"], options["mode"]) == ("landlock", "fork")
    assert (options["limits"].wall_seconds, options["limits"].memory_bytes) == (1.0, 64_000_000)


def test_a_changed_version_does_not_run(project, in_process):
    create(project)
    activate(project, "v1")
    path = project / f".loom/loop-apps/{SPAM}/artifacts/v1/program.py"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"spam", b"ham"))
    message = "artifacts/v1/program.py has changed"
    for command, code in (
        (("app", "run", SPAM, "--input", '{"text": "a"}'), 2),
        (("app", "validate", SPAM, "--version", "v1"), 2),
        (("app", "show", SPAM), 2),
        (("app", "show", SPAM, "--version", "v1"), 2),
        (("app", "audit"), 1),
        (("validate",), 2),
    ):
        done = loom(project, *command)
        assert done.returncode == code, command
        assert message in done.stdout + done.stderr, command
    path.write_bytes(whole)
    run(project, {"text": "a"})
    (path.parent / "extra.py").touch()
    assert "extra.py was added" in loom(project, "app", "show", SPAM).stderr
    (path.parent / "extra.py").unlink()
    (path.parent / "__pycache__").mkdir()
    (path.parent / "__pycache__/program.pyc").touch()
    run(project, {"text": "a"})
    (path.parent / "__pycache__/rules.json").touch()
    assert "__pycache__/rules.json was added" in loom(project, "app", "show", SPAM).stderr
    (path.parent / "__pycache__/rules.json").unlink()
    (path.parent / "metadata.json").write_text("{}", encoding="utf-8")
    assert "metadata.json has changed" in loom(project, "app", "show", SPAM).stderr
    (path.parent / "metadata.json").unlink()
    assert "metadata.json is missing" in loom(project, "app", "audit").stdout


@pytest.mark.parametrize("linked", ["artifacts/v2", "artifacts"])
def test_a_version_behind_a_symbolic_link_does_not_run(project, in_process, linked):
    create(project)
    app = project / f".loom/loop-apps/{SPAM}"
    target = project / "secrets"
    if linked == "artifacts":
        (app / "artifacts").rename(target)
        (target / "v1").rename(target / "v2")
    else:
        target.mkdir()
    for folder in (target, target / "v2"):
        folder.mkdir(exist_ok=True)
        (folder / "program.py").write_bytes((project / "programs/v1.py").read_bytes())
        (folder / "metadata.json").unlink(missing_ok=True)
    (app / linked).symlink_to(target, target_is_directory=True)
    message = f".loom/loop-apps/{SPAM}/{linked} is a symbolic link"
    for command, code in (
        (("app", "run", SPAM, "--version", "v2", "--input", '{"text": "a"}'), 2),
        (("app", "validate", SPAM, "--version", "v2"), 2),
        (("app", "show", SPAM, "--version", "v2"), 2),
        (("app", "audit"), 2),
        (("validate",), 2),
    ):
        done = loom(project, *command)
        assert done.returncode == code, (command, done)
        assert message in done.stdout + done.stderr, command
    assert not in_process


def test_a_folder_of_the_other_system_is_read_as_it_is(project, in_process):
    folder = project / f".loom/loop-apps/{SPAM}"
    for name in ("v1", "v2", "v3"):
        (folder / "artifacts" / name).mkdir(parents=True)
        source = (project / f"programs/{name}.py").read_bytes()
        (folder / "artifacts" / name / "program.py").write_bytes(source)
    (folder / "artifacts/active").symlink_to("v3/")
    (folder / "config.yaml").write_text(SPECIFICATIONS[SPAM], encoding="utf-8")
    assert run(project, {"text": "offer"})["output"] == "spam"
    shown = ok(project, "app", "show", SPAM, "--version", "v3").stdout
    assert "not recorded, because Loom did not write this version" in shown
    ok(project, "validate")
    ok(project, "app", "add", SPAM, "--artifact", str(folder / "artifacts/v2"))
    assert (folder / "artifacts/v4/metadata.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((SPAM, "--program", "none.py"), "none.py: no such file"),
        ((SPAM, "--program", "programs"), "programs: is a directory"),
        ((SPAM, "--artifact", "specs"), "specs: has no file program.py"),
        ((SPAM,), "no program is given"),
        (("spam-001", "--program", "a.py", "--artifact", "d"), "exclude each other"),
        (("Spam_001", "--program", "programs/v1.py"), "'Spam_001' is not the id of an app"),
        (("../x-1", "--program", "programs/v1.py"), "'../x-1' is not the id of an app"),
        (("spam-001", "--program", "programs/v1.py"), "id: expected 'spam-001'"),
        ((SPAM, "--strategy", "magic"), "there is no strategy 'magic'"),
    ],
)
def test_a_refused_app_leaves_nothing(project, monkeypatch, arguments, message):
    monkeypatch.chdir(project)
    done = loom(project, "app", "create", *arguments, "--spec", f"specs/{SPAM}.yaml")
    assert done.returncode == 2
    assert message in done.stderr
    assert not (project / ".loom/loop-apps").exists()


def test_a_broken_program_is_refused_with_its_line(project):
    create(project)
    broken = project / "programs/broken.py"
    broken.write_text("x = 1\ndef execute(:\n", encoding="utf-8")
    done = loom(project, "app", "add", SPAM, "--program", str(broken))
    assert done.returncode == 2
    assert f"{broken}:2:" in done.stderr
    assert "not Python" in done.stderr
    assert document(project, "app", "list")["apps"][0]["versions"] == 1


def test_a_broken_app_does_not_affect_the_others(project, in_process):
    create(project)
    create(project, SENTIMENT)
    path = project / f".loom/loop-apps/{SPAM}/config.yaml"
    path.write_text("tsk: a\n", encoding="utf-8")
    (project / ".loom/loop-apps/Wrong").mkdir()
    (project / ".loom/loop-apps/Wrong/config.yaml").touch()
    done = loom(project, "app", "list", "--json")
    assert done.returncode == 2
    listed = json.loads(done.stdout)
    assert [app["id"] for app in listed["apps"]] == [SENTIMENT]
    assert {error["app"] for error in listed["errors"]} == {SPAM, "Wrong"}
    assert f".loom/loop-apps/{SPAM}/config.yaml:1:1: tsk: unknown key" in done.stderr
    run(project, {"feedback": "good"}, "--version", "v1", app=SENTIMENT)
    found = document(project, "validate", code=2)
    assert {app["app"]: app["valid"] for app in found["apps"]} == {
        "Wrong": False,
        SENTIMENT: True,
        SPAM: False,
    }
    assert found["pipelines"] == []
    unknown = loom(project, "app", "show", "sentiment-analyser-001")
    assert unknown.returncode == 2
    assert f"did you mean '{SENTIMENT}'?" in unknown.stderr


def test_a_misspelt_command(project):
    done = loom(project, "app", "validat", SPAM)
    assert done.returncode == 2
    assert "No such command 'validat'" in done.stderr


def test_help_is_fast_enough_to_import_no_workflow(project):
    code = (
        "import sys\nfrom loomgit import cli\n"
        "try: cli.main(['app', '--help'])\nexcept SystemExit: pass\n"
        "print([m for m in sys.modules if m.startswith('loomgit.workflows') or m == 'pydantic'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
