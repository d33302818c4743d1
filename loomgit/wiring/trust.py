"""Decides which revisions of a project may run their own code and use the environment's keys.

The checkout is trusted. Another revision may change prompts, context, data and cases. A revision
that changes the code to run, or the addresses that keys are sent to, is not measured.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from loomgit.errors import LoomError, Untrusted
from loomgit.history.baselines import Baselines
from loomgit.rows.address import (
    LOCAL_SCHEMES,
    FileAddress,
    SqliteAddress,
    parse_address,
)
from loomgit.wiring.evaluator_code import find_code

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from loomgit.domain.definitions import EvaluatorSpec, Extract, Pipeline, Transform
    from loomgit.domain.settings import ModelSettings
    from loomgit.domain.values import Json
    from loomgit.pipeline.plan import Plan
    from loomgit.wiring.project_files import ProjectFiles

# An untrusted revision may change these model parameters, because they affect only the replies.
SAMPLING = frozenset(
    (
        *("top_p", "top_k", "min_p", "typical_p", "presence_penalty", "frequency_penalty"),
        *("repetition_penalty", "stop", "logit_bias", "logprobs", "top_logprobs", "verbosity"),
        *("reasoning_effort", "thinking", "max_completion_tokens", "response_format", "user"),
    )
)
HINT = (
    "`loom compare --trust-revision` measures the revision anyway: it runs the revision's code and "
    "sends your keys to the revision's addresses"
)


class Trust:
    """Decides which trees are trusted.

    These are the checkout, HEAD, the default branch, the commits that `add` received, and all
    ancestors of these commits.
    """

    def __init__(self, checkout: ProjectFiles) -> None:
        self._reference = checkout
        self._added: list[str] = []
        self._trusts_checkout = True
        self._trusts_all = False
        self._decisions: dict[str, bool] = {}

    @property
    def reference(self) -> ProjectFiles:
        """The tree that untrusted revisions are compared with."""
        return self._reference

    def add(self, *commits: str) -> None:
        """Trust these commits and their ancestors."""
        self._added += commits
        self._decisions.clear()

    def add_all(self) -> None:
        """Trust every revision."""
        self._trusts_all = True

    def only(self, commit: str, reference: ProjectFiles) -> None:
        """Trust only this commit and its ancestors, not the checkout. `reference` is the commit's
        tree."""
        self._trusts_checkout, self._added, self._reference = False, [commit], reference
        self._decisions.clear()

    def trusts(self, tree: ProjectFiles) -> bool:
        """Whether a tree may run its own code and use the keys."""
        revision = tree.tree.revision
        if self._trusts_all:
            return True
        if not revision:  # the tree is the working tree or the index
            return self._trusts_checkout
        if revision not in self._decisions:
            self._decisions[revision] = any(self._is_in(revision, tip) for tip in self._tips())
        return self._decisions[revision]

    def _tips(self) -> Iterator[str]:
        """Yield the trusted commits. The ancestors of a trusted commit are trusted too."""
        yield from self._added
        if self._trusts_checkout:
            yield "HEAD"
            repository, settings = self._reference.repository, self._reference.settings
            try:
                branch = Baselines(repository, settings.baseline).default_branch()
            except LoomError:
                return
            if branch is not None:
                yield branch

    def _is_in(self, revision: str, tip: str) -> bool:
        """Whether `revision` is `tip` or one of its ancestors."""
        git = self._reference.repository
        (target,) = git.objects([f"{tip}^{{commit}}"])
        if target is None:
            return False
        base = git.plumbing("merge-base", "--end-of-options", revision, target[0], good=(0, 1, 128))
        return base.decode("ascii").strip().partition("\n")[0] == revision

    # -- parts that an untrusted revision must not change

    def check_calls(self, tree: ProjectFiles, plan: Plan) -> None:
        """Raise Untrusted if the calls of an untrusted tree may send data to another address.

        This is the case if a model's name contains an address, or if the address, key or lane of a
        model differs from the reference. Model parameters outside `SAMPLING` must not differ
        either, because they could send calls or environment variables to another address.
        """
        if self.trusts(tree):
            return
        trusted, settings = self._reference.settings.models, tree.settings.models
        models = {plan.model, plan.sampling.model, plan.judge}
        for transform in _transforms(plan.pipeline).values():
            models |= {transform.model, *transform.fallback_models}
        for name in sorted(filter(None, models)):
            if "://" in name:
                raise self._untrusted(tree, f"the address in the name of the model {name}")
            if _route(settings.get(name)) != _route(trusted.get(name)):
                raise self._untrusted(tree, f"the address or the key of the model {name}")
        known: Pipeline | None = None
        with suppress(LoomError):
            known = self._reference.catalog.pipeline(plan.pipeline.name)
        expected = {} if known is None else _fixed_params(known)
        params = _fixed_params(plan.pipeline)
        changed = sorted(key for key, value in params.items() if expected.get(key) != value)
        if changed:
            raise self._untrusted(tree, ", ".join(changed))

    def check_program(self, tree: ProjectFiles, program: str) -> None:
        """Raise Untrusted if an untrusted tree would run a program without isolation."""
        if not self.trusts(tree):
            raise self._untrusted(tree, f"the program {program}, which would run without isolation")

    def check_code(self, tree: ProjectFiles, specs: Iterable[EvaluatorSpec]) -> None:
        """Raise Untrusted if an untrusted tree changes the code of Python evaluators."""
        types = [spec.type for spec in specs if ".py:" in spec.type]
        if not types or self.trusts(tree):
            return
        # If new evaluators were allowed, the revision could run any function of the checkout.
        if new := sorted(set(types) - self._evaluators()):
            raise self._untrusted(tree, f"the code of evaluators ({', '.join(new)})")
        trusted, code = (find_code(files.tree, types) for files in (self._reference, tree))
        paths = trusted.keys() | code.keys()
        changed = sorted(path for path in paths if trusted.get(path) != code.get(path))
        if changed:
            raise self._untrusted(tree, f"the code of evaluators ({', '.join(changed)})")

    def check_source(self, tree: ProjectFiles, extract: Extract) -> None:
        """Raise Untrusted if an untrusted tree reads a forbidden source.

        Files outside the tree's folder and databases on a server are forbidden, unless the
        reference has the same source. For a database, the query and the connections must be the
        same, too.
        """
        if self.trusts(tree):
            return
        source = extract.source
        scheme, has_scheme, _ = source.partition("://")
        if has_scheme and scheme.lower() not in LOCAL_SCHEMES:
            if (source, extract.query) not in ((e.source, e.query) for e in self._extracts()):
                raise self._untrusted(tree, f"what it reads from {source}")
            if _connections(tree) != _connections(self._reference):
                raise self._untrusted(tree, "connections in .loom/config.yaml")
            return
        path = _file_of(tree, source)
        if path is not None and not path.is_relative_to(tree.root.resolve()):
            known = (_file_of(self._reference, source) for source in self._sources())
            if path not in known:
                raise self._untrusted(tree, f"the source {source}, which is outside the project")

    def check_destination(self, tree: ProjectFiles, destination: str) -> None:
        """Raise Untrusted if an untrusted tree writes to a destination."""
        if not self.trusts(tree):
            raise self._untrusted(tree, f"the destination of a test ({destination})")

    def _evaluators(self) -> set[str]:
        """Return the types of evaluators in the pipelines and tests of the reference."""
        catalog = self._reference.catalog
        specs: list[EvaluatorSpec] = []
        for suite in catalog.readable_suites()[0]:
            own = (getattr(test, "evaluator", None) for test in suite.distributional_tests)
            specs += [spec for spec in own if spec is not None]
        for name in catalog.pipeline_names():
            with suppress(LoomError):
                specs += catalog.pipeline(name).evaluate.evaluators
        return {spec.type for spec in specs}

    def _sources(self) -> Iterator[str]:
        """Yield each data source that a pipeline or a test file of the reference tree uses."""
        for suite in self._reference.catalog.readable_suites()[0]:
            if suite.dataset:
                yield suite.dataset
        for extract in self._extracts():
            yield extract.source

    def _extracts(self) -> Iterator[Extract]:
        """Yield the extract settings of the pipelines in the reference tree."""
        catalog = self._reference.catalog
        for name in catalog.pipeline_names():
            with suppress(LoomError):
                yield catalog.pipeline(name).extract

    @staticmethod
    def _untrusted(tree: ProjectFiles, what: str) -> Untrusted:
        revision = (tree.tree.revision or "the working tree")[:12]
        return Untrusted(f"{revision} is unverified: it changes {what}", hint=HINT)


def _route(settings: ModelSettings | None) -> tuple[str, ...]:
    """Return the settings that decide where a model's calls and key are sent."""
    if settings is None:
        return ()
    return str(settings.base_url), str(settings.api_key), str(settings.lane)


def _connections(tree: ProjectFiles) -> dict[str, str]:
    """Return the URLs of the connections by name, with references instead of secrets."""
    return {name: str(each.url) for name, each in tree.settings.connections.items()}


def _file_of(tree: ProjectFiles, source: str) -> Path | None:
    """Return the real path of the file behind a source, or None if the source is not a file."""
    try:
        address = parse_address(source, tree.connections)
    except LoomError:
        return None  # opening the source reports the error
    if isinstance(address, FileAddress | SqliteAddress):
        return (tree.root / address.path).resolve()
    return None


def _transforms(pipeline: Pipeline) -> dict[str, Transform]:
    """Return the transforms of a pipeline by their keys in the pipeline file."""
    fallback = pipeline.load.fallback
    if fallback is None or fallback.transform is None:
        return {"transform": pipeline.transform}
    return {"transform": pipeline.transform, "load.fallback": fallback.transform}


def _fixed_params(pipeline: Pipeline) -> dict[str, Json]:
    """Return the model parameters that are not in `SAMPLING`, by path in the pipeline file."""
    return {
        f"{key}.params.{name}": value
        for key, transform in _transforms(pipeline).items()
        for name, value in transform.params.items()
        if name not in SAMPLING
    }
