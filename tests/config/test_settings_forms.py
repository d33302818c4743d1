"""The project's configuration as values."""

from pathlib import Path

import pytest

from loomgit.config.settings_model import parse_settings
from loomgit.domain.place import Place
from loomgit.domain.settings import ConnectionSettings, Defaults, ModelSettings, Secret, Settings

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
