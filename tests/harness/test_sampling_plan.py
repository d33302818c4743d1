"""Drawing until decided: whole batches, no more than it takes, the same verdict whenever asked."""

import numpy as np
import pytest

from loomgit.domain.definitions import EvaluatorSpec
from loomgit.harness.distributional import judge, plan_sampling
from loomgit.harness.sampling_plan import BATCH, in_draw_order, initial_count
from tests.harness.replies import case, cases, distributional, lost, reply, statistical

MEAN = "mean(evaluation_scores) > 0.75"


def draw(test, available, evaluators=()):
    """The cases that a test draws, and how many each time."""
    ordered = in_draw_order(available)
    plan, taken, batches = plan_sampling(test, len(ordered), evaluators), 0, []
    while plan.next_count:
        batches.append(plan.next_count)
        plan.take(ordered[taken : taken + plan.next_count])
        taken += batches[-1]
    return ordered[:taken], batches


GOOD, BAD = cases([1.0] * 1000), cases([0.0] * 1000)


def bernoulli(rng, p, n=1000):
    good = rng.random(n) < p
    return [GOOD[i] if good[i] else BAD[i] for i in range(n)]


def test_the_order_is_a_shuffle_that_new_cases_do_not_change():
    ids = [c.id for c in in_draw_order(cases([0.5] * 50))]
    assert sorted(ids, key=int) != ids
    assert ids == [c.id for c in in_draw_order(cases([0.9] * 50)[::-1])]
    more = [c.id for c in in_draw_order(cases([0.5] * 60)) if int(c.id) < 50]
    assert more == ids


@pytest.mark.parametrize(
    ("keys", "available", "first"),
    [
        ("", 30, 30),
        ("sample_size: 20", 30, 20),
        ("sample_size: 50", 30, 30),
        ("max_samples: 100", 30, BATCH),
        ("max_samples: 100, sample_size: 20", 30, 20),
        ("max_samples: 10, sample_size: 20", 30, 10),
        ("max_samples: 12, samples: 3", 30, 4),
        ("max_samples: 100", 3, 3),
    ],
)
def test_how_many_cases_a_test_begins_with(keys, available, first):
    test = statistical(MEAN, keys=keys)
    assert initial_count(test.sample_size, test.policy, available) == first
    assert plan_sampling(test, available).next_count == first


def test_without_max_samples_there_is_one_batch():
    assert draw(statistical(MEAN, keys="sample_size: 40"), cases([0.7, 0.8] * 50))[1] == [40]


def test_it_draws_until_it_is_decided_and_no_further():
    test = statistical(MEAN, keys="max_samples: 1000")
    available = cases(np.random.default_rng(1).beta(18, 2, 1000))
    used, batches = draw(test, available)
    assert set(batches) == {BATCH}
    assert 20 <= len(used) <= 120
    found = judge(test, available)
    assert (found.verdict, found.checks[0].n, found.checks[0].weak) == ("pass", len(used), False)
    assert judge(test, used) == found  # who has drawn no more has the same verdict


def test_it_draws_until_every_assertion_is_decided():
    both = statistical(MEAN, "rate(passed) > 0.5", "std(evaluation_scores) < 0.4",
                       keys="max_samples: 1000")  # fmt: skip
    available = cases(np.random.default_rng(2).beta(8, 2, 1000))
    alone = len(draw(statistical("rate(passed) > 0.5", keys="max_samples: 1000"), available)[0])
    assert len(draw(both, available)[0]) > alone


def test_the_budget_ends_it_with_the_closing_interval():
    test = statistical(MEAN, keys="max_samples: 40, on_inconclusive: warn")
    used, _ = draw(test, cases([0.5, 1.0] * 100))
    assert len(used) == 40
    found = judge(test, cases([0.5, 1.0] * 100)).checks[0]
    assert (found.verdict, found.n) == ("inconclusive", 40)
    assert "the limit max_samples is reached" in found.note


def test_a_budget_of_replies_is_shared_by_the_cases():
    test = statistical(MEAN, keys="max_samples: 60, samples: 3")
    available = [case(i, *(reply(k, [0.5, 1.0][i % 2]) for k in range(3))) for i in range(100)]
    assert len(draw(test, available)[0]) == 20


def test_what_needs_the_whole_is_content_with_the_first_batch():
    test = statistical("std(evaluation_scores) < 0.1", "p95(latency) < 1",
                       keys="max_samples: 100, sample_size: 30")  # fmt: skip
    assert draw(test, cases([0.5, 1.0] * 100))[1] == [30]


def test_lost_replies_are_feared_while_drawing_too():
    keys = "max_samples: 200, max_error_rate: 1, on_inconclusive: warn"
    test = statistical("rate(passed) > 0.7", keys=keys)
    whole = cases([0.9] * 200)
    some = [case(c.id, lost()) if i % 5 < 2 else c for i, c in enumerate(in_draw_order(whole))]
    assert judge(test, whole).verdict == "pass"
    assert judge(test, some).verdict == "inconclusive"  # 40 % may have been bad
    assert len(draw(test, some)[0]) == 200


def test_a_hallucination_rate_draws_too():
    test = distributional("type: hallucination_rate, threshold: 0.2, max_samples: 500")
    spec = EvaluatorSpec("quality", "groundedness")
    used, batches = draw(test, cases([0.9] * 500), [spec])
    assert 10 < len(used) < 100
    assert set(batches) == {BATCH}
    assert judge(test, used, evaluators=[spec]).verdict == "pass"


@pytest.mark.parametrize("nothing", [lost(), reply(score=None)])
def test_where_the_first_batch_says_nothing_no_more_is_drawn(nothing):
    test = statistical(MEAN, keys="max_samples: 500")
    assert draw(test, [case(i, nothing) for i in range(500)])[1] == [BATCH]


@pytest.mark.parametrize(
    ("text", "p", "tabled", "verdict"),
    [
        ("mean(evaluation_scores) > 0.75", 0.87, 135, "pass"),
        ("rate(evaluation_scores < 0.5) < 0.05", 0.99, 229, "pass"),
        ("rate(evaluation_scores < 0.5) < 0.05", 0.90, 247, "fail"),
    ],
)
def test_it_saves_the_replies_that_the_table_says(text, p, tabled, verdict):
    test = statistical(text, keys="max_samples: 1000")
    rng = np.random.default_rng(7)
    drawn = [draw(test, bernoulli(rng, p)) for _ in range(30)]
    sizes = [len(used) for used, _ in drawn]
    right = sum(judge(test, used).verdict == verdict for used, _ in drawn)
    spread = np.std(sizes) / np.sqrt(len(sizes))
    assert abs(np.mean(sizes) - tabled) < 4 * spread + 5
    assert right >= 28


def test_at_the_threshold_wrong_passes_are_rare():
    test = statistical(MEAN, keys="max_samples: 200, on_inconclusive: warn")
    rng = np.random.default_rng(8)
    verdicts = [judge(test, bernoulli(rng, 0.75, 200)).verdict for _ in range(100)]
    assert verdicts.count("pass") <= 11  # 5 are expected at most
    assert verdicts.count("fail") <= 11
