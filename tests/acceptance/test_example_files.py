"""The repository's own project loads, all of it."""

from pathlib import Path

from loomgit.api import Project
from loomgit.config.suites import parse_suite

ROOT = Path(__file__).parents[2]


def test_every_pipeline_of_the_example_is_valid():
    project = Project(ROOT)
    assert "customer_sentiment" in project.pipeline_names()
    for name in project.pipeline_names():
        assert project.validate(name, offline=True).valid


def test_the_examples_test_file_loads():
    path = "tests/customer_sentiment_test.yaml"
    suite = parse_suite((ROOT / path).read_text(encoding="utf-8"), path)
    assert suite.pipeline == "customer_sentiment"


def test_the_example_has_the_reviews_it_promises():
    import csv

    with (ROOT / "data" / "reviews.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    labels = [row["expected_sentiment"] for row in rows]
    assert len(rows) >= 150
    assert set(labels) == {"positive", "negative", "neutral"}
    assert min(labels.count(label) for label in set(labels)) >= 40
    assert len({row["review_id"] for row in rows}) == len(rows)
