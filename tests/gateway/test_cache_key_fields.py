import pytest

from loomgit.gateway.cache_key_fields import CacheKeyFields

ROW = {"review": "great", "at": "2026-11-22T10:00:00Z"}


def made(*fields, warn=pytest.fail, **changes):
    meets = {"prompt": "p1", "context": {"taxonomy": "c1"}, "variables": {"tone": "dry"}}
    return CacheKeyFields(fields, **{**meets, **changes}, warn=warn)


def test_only_the_named_fields_count():
    stand_in = made("review")
    assert stand_in(ROW) == stand_in({**ROW, "at": "later"})
    assert stand_in(ROW) != stand_in({**ROW, "review": "bad"})


def test_what_the_record_meets_counts_too():
    others = [{"prompt": "p2"}, {"context": {"taxonomy": "c2"}}, {"variables": {}}]
    texts = {made("review")(ROW), *(made("review", **other)(ROW) for other in others)}
    assert len(texts) == 4


def test_model_and_prompt_version_are_in_every_key_and_no_fields():
    assert made("review", "model", "prompt_version")(ROW) == made("review")(ROW)


def test_a_record_that_lacks_a_field_is_not_cached_and_one_warning_says_so():
    warnings = []
    stand_in = made("review", "missing", warn=warnings.append)
    assert [stand_in(ROW), stand_in(ROW)] == [None, None]
    assert stand_in({**ROW, "missing": None}) is not None
    assert len(warnings) == 1
    assert "no field 'missing'" in warnings[0]
