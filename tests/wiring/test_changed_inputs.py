"""The changed files among the inputs of a comparison."""

from loomgit.wiring.changed_inputs import changed_paths


def test_files_are_listed_prompts_first_and_settings_are_not():
    lines = (
        "context/a: b.md: added",
        "pipelines/demo.yaml: removed",
        "prompts/classify.txt: 1a2b3c4d -> 5e6f7a8b",
        "scripts/run.sh: mode 100644 -> 100755",
        "Makefile: added",
        "model: openai/gpt-4o -> openai/gpt-4o-mini",
        "models.openai/gpt-4o.base_url: none -> http://localhost/v1",
        "models.openai/gpt-4o.timeout: 30 -> 60",
    )
    assert changed_paths(lines) == [
        "prompts/classify.txt",
        "context/a: b.md",
        "pipelines/demo.yaml",
        "scripts/run.sh",
        "Makefile",
    ]
