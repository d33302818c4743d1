"""Opening sources: what every kind has in common."""

import pytest

from loomgit.errors import UserError, WorldError


@pytest.mark.parametrize("url", ["reviews.csv", "reviews.jsonl", "reviews.json", "reviews.parquet"])
def test_a_missing_file_is_missed_with_its_neighbour(source, tmp_path, url):
    (tmp_path / f"revews.{url.split('.')[1]}").touch()
    for use in (lambda opened: opened.check(), lambda opened: next(iter(opened.rows()))):
        with pytest.raises(UserError, match=f"{url}: no such file") as caught:
            use(source(url))
        assert caught.value.hint == f"did you mean 'revews.{url.split('.')[1]}'?"


def test_a_missing_folder_is_named(source, tmp_path):
    with pytest.raises(UserError, match="no such file") as caught:
        source("data/deep/reviews.csv").check()
    assert caught.value.hint == f"there is no folder 'data' in {tmp_path}"


def test_a_missing_database_is_not_made(source, tmp_path):
    with pytest.raises(UserError, match="no such file"):
        source("sqlite://a.db/t").check()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["data.csv", "sqlite://data.csv/t"])
def test_a_folder_in_place_of_a_file_shows_what_is_inside(source, tmp_path, url):
    (tmp_path / "data.csv").mkdir()
    (tmp_path / "data.csv" / "part.csv").touch()
    with pytest.raises(UserError, match=r"data\.csv: is a folder") as caught:
        source(url).check()
    assert "part.csv" in (caught.value.hint or "")


def test_a_file_below_a_file_is_no_traceback(source, tmp_path):
    (tmp_path / "a.csv").touch()
    with pytest.raises((UserError, WorldError), match=r"a\.csv/b\.csv"):
        source("a.csv/b.csv").check()


def test_absolute_paths_and_urls_lead_to_the_same_file(source, tmp_path):
    path = tmp_path / "a b.csv"
    path.write_text("id\n1\n")
    for url in ("a b.csv", "file://a b.csv", "file://a%20b.csv", str(path), path.as_uri()):
        assert list(source(url).rows()) == [{"id": "1"}], url


def test_a_source_can_be_read_twice(source, tmp_path):
    (tmp_path / "a.csv").write_text("id\n1\n")
    opened = source("a.csv")
    assert list(opened.rows()) == list(opened.rows())
