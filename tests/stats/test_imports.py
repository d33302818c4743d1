import subprocess
import sys


def loaded(statement):
    code = f"import sys; {statement}; print(*sorted({{n.split('.')[0] for n in sys.modules}}))"
    return set(subprocess.check_output([sys.executable, "-c", code], text=True).split())


def test_summaries_need_neither_numpy_nor_scipy():
    assert not loaded("import loomgit.stats.summary") & {"numpy", "scipy"}


def test_scipy_waits_for_the_first_verdict():
    assert "scipy" not in loaded("import loomgit.stats.gate, loomgit.stats.verdicts")


def test_a_first_interval_needs_neither():
    bound = "loomgit.stats.bounds.moments_bounded_mean(9, 0.8, 0.1, 0.5, 0.9, 0.0, 1.0)"
    assert not loaded(f"import loomgit.stats.bounds; {bound}") & {"numpy", "scipy"}


def test_what_judges_unit_tests_needs_neither():
    assert not loaded("from loomgit.workflows.testing import judge, results, summary") & {
        "numpy",
        "scipy",
    }
