"""Settings of the whole suite."""

import itertools
import os
import sys

import pytest

try:
    from hypothesis import settings
except ModuleNotFoundError:  # tools in other environments read this file
    pass
else:  # no time limit for an example: the machine may be busy
    settings.register_profile("any machine", deadline=None)
    settings.load_profile("any machine")
NUMBERS = itertools.count()  # of the databases of this process


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """Return two workers per core: the tests spend half of their time waiting for processes."""
    return 2 * (os.cpu_count() or 1)


@pytest.fixture(autouse=True, scope="session")
def sessions_have_their_own_temporary_folder(tmp_path_factory):
    """Give the sessions of pytest that tests start their own folder of temporary folders.

    At its end, a session removes the old temporary folders beside its own. Those of this suite are
    large, and their removal takes minutes.
    """
    os.environ["PYTEST_DEBUG_TEMPROOT"] = str(tmp_path_factory.mktemp("sessions"))


@pytest.fixture(autouse=True)
def forget_modules_of_projects(tmp_path_factory):
    """Remove the modules that a test imported from its project: another project may have a module
    with the same name."""
    before = set(sys.modules)
    yield
    folder = str(tmp_path_factory.getbasetemp())
    for name in sys.modules.keys() - before:
        file = getattr(sys.modules[name], "__dict__", {}).get("__file__")
        if file and str(file).startswith(folder):
            del sys.modules[name]


@pytest.fixture
def in_process(monkeypatch):
    """Programs of apps run in this process. Returns the hosts that were opened."""
    from tests.loop_apps import run_in_process

    return run_in_process(monkeypatch)


@pytest.fixture(scope="session")
def postgres_server():
    """A real PostgreSQL server. `make test` installs PostgreSQL."""
    # Imported here, because tools in other environments read this file: they lack psycopg.
    from tests.servers.postgres_server import PostgresServer, find_binaries

    binaries = find_binaries()
    if binaries is None and os.environ.get("LOOM_TEST_WITHOUT_POSTGRESQL"):
        pytest.skip("LOOM_TEST_WITHOUT_POSTGRESQL is set")
    assert binaries is not None, "PostgreSQL is not installed: run `.ci/install-postgresql`"
    server = PostgresServer(binaries)
    yield server
    server.close()


@pytest.fixture
def database(postgres_server):
    """The URL of an empty database."""
    name = f"db_{next(NUMBERS)}"
    with postgres_server.connect() as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    yield postgres_server.url(name)
    with postgres_server.connect() as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def run_sql(database):
    """Run SQL in the database; the rows of the last statement, if it has any."""

    import psycopg

    def run(statement, *parameters):
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            cursor = connection.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else None

    return run
