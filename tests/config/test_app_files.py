"""The files of loop apps: what a specification may say, and how Loom changes a config.yaml."""

from pathlib import Path

import pytest

from loomgit.config.app_dependencies import parse_dependencies
from loomgit.config.app_model import make_config, parse_app, parse_specification, with_state
from loomgit.domain.apps import Retention, Sampling
from loomgit.domain.programs import ProgramLimits
from loomgit.errors import ProblemsFound

VALID = Path(__file__).parent / "valid"
SHORT = "task: Find spam\ninput_schema: {}\noutput_schema: {type: string}\n"
APP = "spam-detector-001"


def text_of(name):
    return (VALID / f"{name}.yaml").read_text(encoding="utf-8")


def test_an_app_of_the_document_has_its_schemas():
    app = parse_app(text_of("app_spam_detector"), "f", APP)
    assert (app.id, app.name) == (APP, "Email Spam Detector")
    assert app.task == "Classify emails as spam or ham"
    assert app.output_schema == {"type": "string", "enum": ["spam", "ham"]}
    assert app.input_schema["properties"]["sender"] == {"type": "string"}
    assert (app.privacy, app.state, app.worker) == ("strict", "active", "warm")
    assert app.accuracy_target is None


def test_every_key_has_its_value():
    app = parse_app(text_of("app_every_key"), "f", "fraud-detector-v2")
    assert app.sampling == Sampling(0.1, "uncertainty")
    assert app.retention == Retention(30, 500_000_000)
    assert app.limits == ProgramLimits(2.0, 1.0, 0.5, 256 * 1024 * 1024, 64_000)
    assert (app.accuracy_target, app.latency_target_ms) == (0.95, 10.0)
    assert (app.state, app.worker, app.privacy) == ("paused", "fork", "permissive")


def test_the_default_limits_are_those_of_a_program():
    assert parse_specification(SHORT, "f", APP).limits == ProgramLimits()
    assert parse_specification(SHORT + "sampling: 0.5\n", "f", APP).sampling == Sampling(0.5)


@pytest.mark.parametrize(
    "id",
    ["001", "spam", "Spam-001", "spam_detector-1", "spam--1", "-a-1", "a-1-", "a-b/c", "a-" * 99],
)
def test_an_id_has_two_parts_and_is_no_path(id):  # noqa: A002
    with pytest.raises(ProblemsFound, match="is not the id of an app"):
        parse_specification(f"id: {id}\n{SHORT}", "f", id)


@pytest.mark.parametrize(
    "id", ["spam-detector-001", "fraud-detector-v2", "a-1", "spam-detector-sms"]
)
def test_ids_of_the_document(id):  # noqa: A002
    assert parse_specification(f"id: {id}\n{SHORT}", "f", id).id == id


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("current_version: latest", "f:4:1: current_version: expected a version such as 1 or v1"),
        ("current_version: 0", "f:4:1: current_version"),
        ("current_version: [1]", "f:4:1: current_version"),
        ("endpoint: /loop-apps/other-001/execute", "f:4:1: endpoint: expected '/loop-apps/spam"),
        ("endpoint: {a: b}", "f:4:1: endpoint"),
    ],
)
def test_the_keys_of_a_specification_are_checked_only_there(line, message):
    with pytest.raises(ProblemsFound, match=message):
        parse_specification(f"{SHORT}{line}\n", "f", APP)
    assert parse_app(f"{SHORT}{line}\nid: {APP}\n", "f", APP).id == APP


def test_the_config_of_a_new_app_keeps_the_comments_and_drops_the_keys_of_a_specification():
    config = make_config(text_of("app_spam_detector"), "f", APP)
    assert config.startswith("# Loop App 1: Email Spam Detection\nloop_app_id: spam-detector-001\n")
    assert "current_version" not in config
    assert "endpoint" not in config
    assert make_config(SHORT, "f", APP) == f"id: {APP}\n{SHORT}"
    folded = f"id: {APP}\n{SHORT}endpoint: >-\n  /loop-apps/{APP}/execute\n"
    assert make_config(folded, "f", APP) == folded  # a value on two lines stays
    flow = "{task: t, input_schema: {}, output_schema: {}}"
    with pytest.raises(ProblemsFound, match="f:1:1: missing key 'id'"):
        make_config(flow, "f", APP)
    assert make_config(flow.replace("{task", f"{{id: {APP}, task"), "f", APP).startswith("{id")


def test_a_new_state_changes_one_line():
    text = f"# mine\nid: {APP}  # the id\n{SHORT}"
    paused = with_state(text, "f", APP, "paused")
    assert paused == f"{text}lifecycle: paused\n"
    assert with_state(paused, "f", APP, "active") == f"{text}lifecycle: active\n"
    noted = text + "lifecycle: paused  # until Monday\nname: Spam"
    assert with_state(noted, "f", APP, "archived") == noted.replace(": paused", ": archived")
    flow = f"{{id: {APP}, task: t, input_schema: {{}}, output_schema: {{}}}}"
    assert with_state(flow, "f", APP, "paused") is None


def test_the_dependencies_of_the_document():
    found = parse_dependencies(text_of("dependencies_email"), "f")
    model, vectorizer = found.shared
    assert model.path == "artifacts/models/spam-classifier-base-v2"
    assert (model.title, model.sha256) == ("spam-classifier-base@v2", "abc123def456...")
    assert vectorizer.path == "artifacts/vectorizers/tfidf-english-v1.pkl"
    assert str(vectorizer.place) == "f:11:5"
    assert [(item.path, item.description) for item in found.local] == [
        ("email-patterns.json", "Email-specific spam patterns")
    ]


def test_a_hash_can_have_either_name_and_a_data_set_is_shared_too():
    digest = "a" * 64
    for key in (f"hash: sha256:{digest}", f"sha256: {digest}", f"hash: {digest}"):
        text = "shared_artifacts: [{type: data, name: d, version: 1, path: %s, %s}]"
        (item,) = parse_dependencies(
            text % ("/loopai-data/shared/datasets/d/x.jsonl", key), "f"
        ).shared
        assert (item.path, item.sha256) == ("datasets/d/x.jsonl", digest)
    assert parse_dependencies("", "f").shared == ()
