"""The structure of the package: which module may import which, and how modules are written."""

from __future__ import annotations

import ast
import io
import re
import tokenize
import tomllib
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "loomgit"
PATHS = sorted(PACKAGE.rglob("*.py"))

WORK = {"pipeline", "harness", "comparison", "lineage", "monitor", "apps", "report", "training"}
ADAPTERS = {
    "config", "history", "gateway", "evaluators", "rows", "retrieval", "hooks", "github", "alerts",
    "sandbox", "page",
}  # fmt: skip
ENTRY_POINTS = {
    "cli",
    "__main__",
    "commands",
    "pytest_plugin",
    "api",
    "service",
    "scaffold",
    "reporting",
}
LOWEST = {"domain", "errors", "stats"}
BELOW_WIRING = WORK | ADAPTERS | LOWEST

# Packages and modules that may import modules of Loom inside functions, and why.
LAZY = {
    "api": "one workflow for each method",
    "cli": "a command is imported when it is called",
    "config.parse_cache": "a registry of parsers, which take a third of a second to import",
    "evaluators.registry": "a registry of slow adapters",
    "gateway.chain": "a registry of lanes, and the embedded model is needed in demonstrations only",
    "pytest_plugin": "pytest imports the plugin in every session",
    "rows.destination_lock": "a registry of slow adapters",
    "rows.quarantine_address": "a registry of slow adapters",
    "rows.sinks": "a registry of slow adapters",
    "rows.sources": "a registry of slow adapters",
    "rows.watermark_stores": "a registry of slow adapters",
    "training.train": "scikit-learn is an extra, and takes a second to import",
    "wiring.program_hosts": "most runs have no program, so they do not import the sandbox",
    "wiring.project": "a registry of adapters, each imported when it is first used",
    "wiring.project_files": "the same",
    "wiring.selection": "only `state:modified` compares revisions",
    "wiring.revision": "a comparison of stored results needs no gateways, sources and sinks",
    "workflows.comparing.compare": "nor what measures missing results",
}
# Words and phrases that plain English does without.
BANNED = re.compile(
    r"\b(anew|of which|nobody|somebody|whoever|(is|are|was|were) told|it is said|mission|"
    r"that is none|there is none|to be had|hears|knocks?|what is to be|thereof|hereby|whence|"
    r"util|helper|manager|handler)\b",
    re.IGNORECASE,
)
BANNED_MODULES = {"util", "utils", "helper", "helpers", "manager", "engine", "handler", "base",
                  "core", "common"}  # fmt: skip
PROJECT = PACKAGE.parent
PAGES = [*sorted((PROJECT / "docs").glob("*.md")), *sorted(PROJECT.glob("*.md"))]
LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)#\s]+)")
NAMED_FILE = re.compile(r"`((?:loomgit|docs|tests|benchmarks|\.ci|\.github)/[\w./-]*\w)`")
ONE_USER = {
    "git": "history",
    "litellm": "gateway",
    "arbiter_ai": "evaluators",
    "scipy": "stats",
    "sklearn": "training",
    "yaml": "config",
    "tinydb": "history",
    "duckdb": "rows",
    "psycopg": "rows",
    "sqlalchemy": "rows",
}


def module_name(path: Path) -> str:
    """`pipeline.runner` for loomgit/pipeline/runner.py; empty for the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in PATHS}


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported_by(node: ast.AST) -> set[str]:
    """The modules that an import statement names, with their full names."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom) and node.module:
        names = set()
        for alias in node.names:
            inner = f"{node.module}.{alias.name}"
            own = inner.removeprefix("loomgit.") in MODULES
            names.add(inner if own else node.module)
        return names
    return set()


@cache
def libraries_of(path: Path) -> frozenset[str]:
    nodes = ast.walk(parsed(path))
    return frozenset(name.partition(".")[0] for node in nodes for name in imported_by(node))


def own_imports(tree: ast.AST) -> set[str]:
    """The modules of Loom that are imported anywhere below a node, annotations included."""
    names = {name for node in ast.walk(tree) for name in imported_by(node)}
    return {name.removeprefix("loomgit.") for name in names if name.startswith("loomgit.")}


def package_of(module: str) -> str:
    return module.partition(".")[0]


def allowed(package: str) -> set[str]:
    """The packages that a package may import."""
    if package in ("errors", "domain"):
        return {"errors", "domain"}
    if package == "stats":
        return {"stats"}
    if package == "harness":
        return {package, "comparison"} | LOWEST
    if package in WORK:
        return {package} | LOWEST
    if package in ADAPTERS:
        return {package, "domain", "errors"}
    if package == "wiring":
        return BELOW_WIRING | {"wiring"}
    if package == "workflows":
        return BELOW_WIRING | {"wiring", "workflows"}
    return BELOW_WIRING | {"wiring", "workflows"} | ENTRY_POINTS


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module or "loomgit")
def test_a_module_imports_only_packages_of_its_layer_and_below(module):
    for name in own_imports(parsed(MODULES[module])):
        assert package_of(name) in allowed(package_of(module)), f"{module} imports {name}"


@pytest.mark.parametrize(("library", "package"), ONE_USER.items())
def test_one_package_imports_a_library(library, package):
    users = {
        package_of(module) for module, path in MODULES.items() if library in libraries_of(path)
    }
    assert users <= {package}


def test_an_init_file_is_empty():
    for path in PACKAGE.rglob("__init__.py"):
        if path.parent != PACKAGE:
            assert path.read_text() == "", path


def test_files_and_functions_are_short():
    for path in PATHS:
        assert path.read_text(encoding="utf-8").count("\n") <= 400, path
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno - node.lineno < 60, f"{path}:{node.lineno} {node.name}"


def test_no_import_cycle_annotations_included():
    edges = {module: own_imports(parsed(path)) & MODULES.keys() for module, path in MODULES.items()}
    while leaves := [module for module, targets in edges.items() if not targets & edges.keys()]:
        for module in leaves:
            del edges[module]
    assert not edges, f"cycle among {sorted(edges)}"


def test_a_class_name_occurs_once():
    modules = defaultdict(list)
    for module, path in MODULES.items():
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ClassDef):
                modules[node.name].append(module)
    assert {name: found for name, found in modules.items() if len(found) > 1} == {}


def imports_inside_functions(module: str) -> list[tuple[str, int]]:
    """The modules of Loom that are imported inside a function, with the line."""
    found = {}
    for function in ast.walk(parsed(MODULES[module])):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if any(name.startswith("loomgit.") for name in imported_by(node)):
                    found[node.lineno] = function.name
    return [(name, line) for line, name in sorted(found.items())]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module or "loomgit")
def test_modules_of_loom_are_imported_at_the_top(module):
    if module in LAZY or package_of(module) in LAZY:
        return
    lazy = imports_inside_functions(module)
    if package_of(module) == "commands":  # one for each command: the module that does the work
        functions = [name for name, _ in lazy]
        assert len(functions) == len(set(functions)), f"{module}: {lazy}"
        return
    assert lazy == [], f"{module}: {lazy}"


def texts_of(path: Path) -> list[tuple[int, str]]:
    """The comments and string literals of a module, with their lines."""
    source = path.read_text(encoding="utf-8")
    kinds = (tokenize.COMMENT, tokenize.STRING)
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    texts = [token for token in tokens if token.type in kinds]
    # Raw strings are regular expressions, which may match any word.
    return [(text.start[0], text.string) for text in texts if not text.string.startswith("r")]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: module_name(path) or "loomgit")
def test_no_text_of_the_code_has_a_banned_word(path):
    for line, text in texts_of(path):
        word = BANNED.search(text)
        assert word is None, f"{path}:{line}: '{word[0]}'"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_no_page_has_a_banned_word(path):
    for line, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        word = BANNED.search(text)
        rule = "No util, helper" in text or "engine, handler" in text
        assert word is None or rule, f"{path}:{line}: '{word[0]}'"


def test_the_name_of_a_module_says_what_it_contains():
    assert not {name.rpartition(".")[2] for name in MODULES} & BANNED_MODULES


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_refers_to_files_that_exist(path):
    text = path.read_text(encoding="utf-8")
    for name in LINK.findall(text):
        assert (path.parent / name).exists(), f"{path}: {name}"
    for name in NAMED_FILE.findall(text):
        found = (PROJECT / name).exists() or "NAME" in name
        assert found, f"{path}: {name}"


def test_the_architecture_page_gives_the_reason_for_each_dependency():
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    page = (PROJECT / "docs/architecture.md").read_text(encoding="utf-8")
    table = page.partition("## Why these dependencies")[2].lower()
    for dependency in settings["project"]["dependencies"]:
        name = re.match(r"[\w-]+", dependency)[0].lower()
        assert re.search(rf"\b{name}\b", table), name


@pytest.mark.parametrize("name", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_the_pages_for_contributors_name_modules_that_exist(name):
    text = (PROJECT / name).read_text(encoding="utf-8")
    for module in re.findall(r"`([a-z_]+(?:/[a-z_]+)+\.py)`", text):
        assert (PACKAGE / module).exists() or (PROJECT / module).exists(), module


@pytest.mark.parametrize("path", PATHS, ids=lambda path: module_name(path) or "loomgit")
def test_the_code_refers_to_modules_and_files_that_exist(path):
    for line, text in texts_of(path):
        for name in re.findall(r"`loomgit\.([a-z_.]+\w)", text):
            parts = name.split(".")
            known = any(".".join(parts[:count]) in MODULES for count in range(1, len(parts) + 1))
            folder = (PACKAGE / parts[0]).exists()
            assert known or (folder and len(parts) == 1), f"{path}:{line}: loomgit.{name}"
        for name in NAMED_FILE.findall(text):
            assert (PROJECT / name).exists(), f"{path}:{line}: {name}"
        assert not re.search(r"(house|style)\.md", text), f"{path}:{line}"
