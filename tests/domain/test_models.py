from loomgit.domain.models import CallTotals, Completion, Usage


def test_what_was_paid_is_counted_and_what_was_kept_is_saved():
    spent = CallTotals()
    spent.add(Completion("a", "m", Usage(10, 2), cost=0.5, latency=1.0))
    spent.add(Completion("b", "m", Usage(7, 1), cost=0.0, attempts=0, cached=True, saved=0.25))
    assert (spent.usage, spent.cost, spent.saved) == (Usage(10, 2), 0.5, 0.25)
    assert (spent.calls, spent.hits, spent.cached, spent.latency) == (2, 1, False, 1.0)


def test_all_kept_means_nothing_was_waited_for():
    spent = CallTotals()
    spent.add(Completion("b", "m", Usage(7, 1), cost=0.0, attempts=0, cached=True, saved=None))
    assert (spent.cached, spent.latency, spent.cost, spent.saved) == (True, None, 0.0, None)
    assert spent.usage == Usage()
