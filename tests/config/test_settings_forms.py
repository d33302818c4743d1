"""The project's configuration as values."""

from pathlib import Path

import pytest

from loomgit.config.settings_model import parse_settings
from loomgit.domain.place import Place
from loomgit.domain.settings import (
    ConnectionSettings,
    Defaults,
    ModelSettings,
    Secret,
    Settings,
    Target,
)
from loomgit.errors import UnknownTarget

VALID = Path(__file__).parent / "valid"
FILE = ".loom/config.yaml"


def test_every_key_arrives():
    found = parse_settings((VALID / "settings.yaml").read_text(encoding="utf-8"), FILE)
    assert found == Settings(
        connections={
            "customers": ConnectionSettings(
                Secret(
                    "postgres://${PG_USER}:${PG_PASSWORD}@${PG_HOST:-localhost}/customers",
                    Place(FILE, 2, 14),
                )
            )
        },
        defaults=Defaults("gpt-4o-mini", "gpt-4o", 8, cache=False, store="local"),
        models={
            "gpt-4o-mini": ModelSettings(
                base_url=Secret("http://127.0.0.1:8000/v1", Place(FILE, 6, 16)),
                api_key=Secret("${OPENAI_API_KEY}", Place(FILE, 7, 14)),
                lane="direct",
                input_price=0.15,
                output_price=0.6,
                cached_input_price=0.075,
                price_as="gpt-4o",
                rpm=500,
                tpm=200000,
                timeout=30.0,
                max_output_tokens=4096,
            )
        },
        channels={"slack": {"type": "slack", "url": "${SLACK_URL}"}},
        baseline="main",
        store="tracked",
        hooks_budget=0.5,
        targets={
            "dev": Target(connections=found.connections, defaults=found.defaults),
            "prod": Target(
                connections={
                    "customers": ConnectionSettings(
                        Secret("postgres://${PROD_HOST}/customers", Place(FILE, 25, 31))
                    )
                },
                defaults=Defaults("gpt-4o", "gpt-4o", None, cache=False, store="local"),
                budget=25.0,
                production=True,
            ),
        },
    )
    assert found.places["channels.slack.url"] == Place(FILE, 18, 24)


@pytest.mark.parametrize("text", ["", "\n\n", "\ufeff", "# all of it is optional\n", "defaults:\n"])
def test_a_file_that_says_nothing_leaves_the_defaults(text):
    assert parse_settings(text, FILE) == Settings()


def test_a_model_may_be_named_without_settings():
    assert parse_settings("models: {vendor/gpt-4.1: {}}", FILE).models == {
        "vendor/gpt-4.1": ModelSettings()
    }


def test_concurrency_may_be_auto():
    assert parse_settings("defaults: {concurrency: auto}", FILE).defaults == Defaults()


def test_a_connection_can_be_a_map():
    text = "connections:\n  a:\n    url: postgresql://h/d\n    loom_schema: loom\n"
    connection = parse_settings(text, FILE).connections["a"]
    assert connection == ConnectionSettings(Secret("postgresql://h/d", Place(FILE, 3, 10)), "loom")


TWO = """\
connections: {a: sqlite://base.db, b: sqlite://b.db}
defaults: {model: small, concurrency: 8, cache: false}
targets:
  dev: {connections: {a: sqlite://dev.db}, defaults: {cache: true}}
  prod: {budget: 3, defaults: {concurrency: auto}}
"""


def test_a_target_replaces_single_connections_and_defaults():
    settings = parse_settings(TWO, FILE)
    assert (settings.target, settings.default_target) == (None, "dev")
    dev, prod = settings.with_target("dev"), settings.with_target("prod")
    assert [str(c.url) for c in dev.connections.values()] == ["sqlite://dev.db", "sqlite://b.db"]
    assert prod.connections == settings.connections
    assert dev.defaults == Defaults("small", concurrency=8, cache=True)
    assert prod.defaults == Defaults("small", concurrency=None, cache=False)
    assert (dev.target, dev.budget, prod.budget) == ("dev", None, 3.0)
    assert settings.with_target(None) == settings


@pytest.mark.parametrize(
    ("text", "name", "message", "hint"),
    [
        (TWO, "prd", "there is no target 'prd': .loom/config.yaml has dev, prod",
         "did you mean 'prod'?"),
        (TWO, "qa", "there is no target 'qa': .loom/config.yaml has dev, prod", None),
        ("", "dev", "there is no target 'dev': .loom/config.yaml has no targets",
         "add `targets:` to .loom/config.yaml, or omit --target and LOOM_TARGET"),
    ],
)  # fmt: skip
def test_an_unknown_target_is_an_error(text, name, message, hint):
    with pytest.raises(UnknownTarget) as caught:
        parse_settings(text, FILE).with_target(name)
    assert (caught.value.message, caught.value.hint) == (message, hint)


@pytest.mark.parametrize(
    ("target", "cost_budget", "lowest"),
    [("dev", None, None), ("dev", 2.0, 2.0), ("prod", None, 3.0), ("prod", 2.0, 2.0),
     ("prod", 5.0, 3.0)],
)  # fmt: skip
def test_the_lower_budget_counts(target, cost_budget, lowest):
    assert parse_settings(TWO, FILE).with_target(target).run_budget(cost_budget) == lowest
