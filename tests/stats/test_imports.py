import subprocess
import sys


def loaded(statement):
    code = f"import sys; {statement}; print(*sorted({{n.split('.')[0] for n in sys.modules}}))"
    return set(subprocess.check_output([sys.executable, "-c", code], text=True).split())


def test_summaries_need_neither_numpy_nor_scipy():
    assert not loaded("import loomgit.stats.summary") & {"numpy", "scipy"}


def test_scipy_waits_for_the_first_verdict():
    assert "scipy" not in loaded("import loomgit.stats.gate, loomgit.stats.verdicts")
