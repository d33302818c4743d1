import sys
import threading
import warnings
from textwrap import dedent

import pytest

from loomgit.domain.quiet_imports import import_quietly, suppress_warnings

LIBRARY = """
    import warnings
    from warnings import warn
    import loom_test_signals as signals
    signals.began.set()
    assert signals.go_on.wait(10)
    warnings.warn("a field", UserWarning)
    warn("another one", DeprecationWarning, 2)
"""


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A library that warns in the middle of its import; its signals say when, and let it go on."""
    signals = "import threading\nbegan, go_on = threading.Event(), threading.Event()\n"
    (tmp_path / "loom_test_signals.py").write_text(signals)
    (tmp_path / "loom_test_library.py").write_text(dedent(LIBRARY))
    monkeypatch.syspath_prepend(tmp_path)
    yield __import__("loom_test_signals")
    for name in ("loom_test_signals", "loom_test_library"):
        sys.modules.pop(name, None)


def test_an_import_warns_of_nothing_whatever_becomes_of_the_filters_meanwhile(library):
    found = []

    def load():
        try:
            found.append(import_quietly("loom_test_library"))
        except Warning as warning:
            found.append(warning)

    thread = threading.Thread(target=load)
    thread.start()
    assert library.began.wait(10)
    with warnings.catch_warnings(record=True) as heard:  # as pytest does when a test begins
        warnings.simplefilter("error")
        library.go_on.set()
        thread.join(10)
    assert [module.__name__ for module in found] == ["loom_test_library"]
    assert heard == []
    with pytest.warns(UserWarning, match="said later"):
        found[0].warn("said later")


def test_others_are_heard_with_their_own_place():
    def speak():
        warnings.warn("mine", UserWarning, stacklevel=1)

    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        with suppress_warnings():
            warnings.warn("dropped", UserWarning, stacklevel=1)
            thread = threading.Thread(target=speak)
            thread.start()
            thread.join(10)
        warnings.warn("and afterwards", UserWarning, stacklevel=1)
    assert [str(warning.message) for warning in heard] == ["mine", "and afterwards"]
    assert {warning.filename for warning in heard} == {__file__}
    assert heard[0].lineno == speak.__code__.co_firstlineno + 1
