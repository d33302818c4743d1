"""Imports point down only: entrances, wiring, work and adapters, domain, errors."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "loomgit"
LEAVES = {"errors", "stats"}
WORK = {"pipeline", "harness", "monitor", "lineage", "report", "apps"}
ADAPTERS = {"config", "history", "gateway", "evaluators", "rows", "alerts", "hooks", "retrieval"}
ENTRANCES = {
    "cli",
    "__main__",
    "plugin",
    "commands",
    "service",
    "api",
    "execution",
    "reporting",
    "sessions",
    "comparisons",
    "guards",
    "scaffold",
}
WIRING = {"wiring"}
SINGLE_DOORS = {
    "git": {"history"},
    "litellm": {"gateway"},
    "arbiter_ai": {"evaluators"},
    "scipy": {"stats"},
    "yaml": {"config"},
    "tinydb": {"history"},
    "duckdb": {"rows"},
}


def imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


def allowed(name: str) -> set[str]:
    if name in ("errors", "domain"):
        return {"errors", "domain"}
    if name == "stats":
        return {"stats"}
    if name in WORK:
        return {name, "domain", "errors", "stats"}
    if name in ADAPTERS:
        return {name, "domain", "errors"}
    if name in WIRING:
        return WORK | ADAPTERS | LEAVES | {"domain"} | WIRING
    return WORK | ADAPTERS | LEAVES | ENTRANCES | WIRING | {"domain"}


MODULES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_rooms_below_its_own(path):
    for name in imports(path):
        if not name.startswith("loomgit."):
            continue
        target = name.split(".")[1]
        if not (PACKAGE / target).exists() and not (PACKAGE / f"{target}.py").exists():
            continue  # a name of the package itself, such as __version__
        assert target in allowed(room(path)), f"{path.name} imports {name}"


def test_what_is_entered_does_not_reach_back_to_the_entrances():
    below = {
        "wiring": {"sessions", "comparisons", "guards", "execution"},
        "sessions": {"comparisons", "guards"},
        "comparisons": {"guards"},
        "guards": set(),
    }
    for path in MODULES:
        if room(path) in below:
            targets = {name.split(".")[1] for name in imports(path) if name.startswith("loomgit.")}
            assert not targets & (below[room(path)] | {"cli", "commands", "api"}), path


@pytest.mark.parametrize(("library", "rooms"), SINGLE_DOORS.items())
def test_a_library_is_imported_in_one_room_only(library, rooms):
    users = {
        room(path)
        for path in MODULES
        if any(name.split(".")[0] == library for name in imports(path))
    }
    assert users <= rooms


def test_packages_are_empty_but_for_the_version():
    for path in PACKAGE.rglob("__init__.py"):
        if path.parent != PACKAGE:
            assert path.read_text() == "", path


def test_files_and_functions_stay_small():
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") <= 400, f"{path} is two rooms"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno - node.lineno < 60, f"{path}:{node.lineno} {node.name}"
