"""Ctrl-C: what is done is kept, what was paid for is not paid for again."""

import os
import signal
import subprocess
import time

import pytest

from tests.pytest_plugin.sessions import (
    ASKING,
    begin,
    only,
    project_with,
    pytest_in,
    respond,
    runs,
    units,
)
from tests.servers.openai_server import Hang

MANY = 60


def stop_when(server, process, condition, *pauses):
    """Press Ctrl-C, as a terminal does it: for the whole group; and again after each pause.

    If the session does not end, the test fails with the stacks of all its processes.
    """
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    for pause in (0, *pauses):
        time.sleep(pause)
        os.killpg(process.pid, signal.SIGINT)
    try:
        said, _ = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGABRT)  # `faulthandler` writes the stacks
        said, _ = process.communicate()
        pytest.fail(f"the session did not end:\n{said}")
    assert "INTERNALERROR" not in said, said
    return said


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "two workers"])
def test_an_interrupted_session_keeps_its_results_and_pays_once(tmp_path, server, workers):
    server.latency = 0.1
    project = project_with(tmp_path / "work", server, units(MANY))
    process = begin(project, *workers)
    said = stop_when(server, process, lambda: server.calls >= 30)
    assert process.returncode == 2, said
    assert "KeyboardInterrupt" in said
    assert "prompt tests" in said
    paid = server.statuses[200]
    assert paid == server.calls < MANY  # what was in flight ended
    run = only(runs(project))
    assert (run["complete"], run["selected"], run["total"]) == (False, MANY, MANY)
    assert 0 < len(run["tests"]) == len(run["cases"]) < MANY
    assert all(test["verdict"] == "pass" for test in run["tests"])
    server.latency = 0.0
    pytest_in(project).expect(0, passed=MANY)
    assert server.calls == MANY
    assert runs(project)[-1]["complete"]


@pytest.mark.parametrize("pause", [0.05, 1.0])
def test_a_second_ctrl_c_does_not_wait(tmp_path, server, pause):
    def hang(request):
        if "number 9 " in request["messages"][-1]["content"]:
            return Hang()
        return respond(request)

    server.respond = hang
    pipeline = ASKING.replace("concurrency: 8", "concurrency: 1")
    project = project_with(tmp_path / "work", server, units(20), pipeline)
    process = begin(project)
    began = time.monotonic()
    said = stop_when(server, process, lambda: server.calls >= 10, pause)
    assert time.monotonic() - began < 45  # the call that hangs would hang for a minute
    assert process.returncode == 2, said
    assert "press Ctrl-C again to stop immediately" in said
    assert "calls in flight were abandoned" in said
    run = only(runs(project))
    assert 0 < len(run["tests"]) <= 9
    assert not run["complete"]
    calls, server.respond = server.calls, respond
    pytest_in(project).expect(0, passed=20)
    assert server.calls == calls + 11  # what was answered before is not asked again


def test_ctrl_c_in_an_integration_test_ends_the_session(tmp_path, server):
    server.latency = 0.2
    tests = "integration_tests:\n" + "".join(
        f"  - {{name: whole_{n}, steps: [{{extract: 4 records}}], "
        f"assertions: [records_loaded == 4]}}\n"
        for n in range(3)
    )
    project = project_with(tmp_path / "work", server, tests)
    process = begin(project)
    said = stop_when(server, process, lambda: server.calls >= 2)
    assert process.returncode == 2, said
    assert "KeyboardInterrupt" in said
    assert "Traceback" not in said


WITHOUT_A_LINE = """
import math


def interrupt():
    raise KeyboardInterrupt


code = interrupt.__code__
units = len(code.co_code) // 2
no_lines = bytes([0xFF]) * math.ceil(units / 8)  # up to eight instructions each, without a place
interrupt.__code__ = code.replace(co_linetable=no_lines)


def pytest_runtest_logfinish(nodeid):
    if "case_011" in nodeid:
        interrupt()
"""


def test_an_interrupt_at_a_place_without_a_line_number_ends_the_session_as_any_other(
    tmp_path, server
):
    project = project_with(tmp_path / "work", server, units(20), **{"conftest.py": WITHOUT_A_LINE})
    session = pytest_in(project)
    assert session.code == 2, session.out + session.error
    assert "conftest.py" in session.out
    assert "KeyboardInterrupt" in session.out
    assert "Traceback" not in session.out + session.error
    run = only(runs(project))
    assert not run["complete"]
    assert len(run["tests"]) == 12
