"""Which revisions of a project may run their own code and use the keys of the environment.

The checkout is trusted. Another revision may change prompts, context, data and cases. If it differs
from the checkout in what decides where keys go or which code runs, it is not measured.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from loomgit.errors import LoomError, Untrusted
from loomgit.history.baselines import Baselines
from loomgit.rows.address import parse_address
from loomgit.wiring.catalog import Catalog
from loomgit.wiring.code import find_code

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from loomgit.domain.definitions import EvaluatorSpec, Pipeline
    from loomgit.domain.settings import ModelSettings
    from loomgit.wiring.project import Wiring

# Parameters of a model that only change what it replies.
SAMPLING = frozenset(
    (
        *("top_p", "top_k", "min_p", "typical_p", "presence_penalty", "frequency_penalty"),
        *("repetition_penalty", "stop", "logit_bias", "logprobs", "top_logprobs", "verbosity"),
        *("reasoning_effort", "thinking", "max_completion_tokens", "response_format", "user"),
    )
)
HINT = "`loom compare --trust-revision` measures it: its code runs, its addresses get your keys"


class Trust:
    """Decides which trees are trusted: the checkout, the ancestors of HEAD and of the default
    branch, and what somebody has added."""

    def __init__(self, checkout: Wiring) -> None:
        self._reference = checkout
        self._added: list[str] = []
        self._usual = True
        self._all = False
        self._known: dict[str, bool] = {}

    @property
    def reference(self) -> Wiring:
        """The tree with which revisions that are not trusted are compared."""
        return self._reference

    def add(self, *commits: str) -> None:
        """Trust these commits and their ancestors."""
        self._added += commits
        self._known.clear()

    def add_all(self) -> None:
        """Trust every revision."""
        self._all = True

    def only(self, commit: str, reference: Wiring) -> None:
        """Trust this commit and its ancestors, and not the checkout; `reference` is its tree."""
        self._usual, self._added, self._reference = False, [commit], reference
        self._known.clear()

    def trusts(self, tree: Wiring) -> bool:
        """Whether a tree may run its own code and use the keys."""
        revision = tree.tree.revision
        if self._all:
            return True
        if not revision:  # the working tree or the index
            return self._usual
        if revision not in self._known:
            self._known[revision] = any(self._is_in(revision, tip) for tip in self._tips())
        return self._known[revision]

    def _tips(self) -> Iterator[str]:
        yield from self._added
        if self._usual:
            yield "HEAD"
            repository, settings = self._reference.repository, self._reference.settings
            try:
                branch = Baselines(repository, settings.baseline).default_branch()
            except LoomError:
                return
            if branch is not None:
                yield branch

    def _is_in(self, revision: str, tip: str) -> bool:
        git = self._reference.repository
        (found,) = git.objects([f"{tip}^{{commit}}"])
        if found is None:
            return False
        base = git.plumbing("merge-base", "--end-of-options", revision, found[0], good=(0, 1, 128))
        return base.decode("ascii").strip().partition("\n")[0] == revision

    # -- what a revision may not change

    def check_models(self, tree: Wiring, models: Iterable[str]) -> None:
        """Raise Untrusted if a tree that is not trusted sends the calls or the key of one of these
        models elsewhere than the reference."""
        here, there = self._reference.settings.models, tree.settings.models
        for name in models:
            if "://" in name and not self.trusts(tree):
                raise self._untrusted(tree, f"the model, whose name holds an address: {name}")
            if _route(there.get(name)) != _route(here.get(name)) and not self.trusts(tree):
                raise self._untrusted(tree, f"the address or the key of the model {name}")

    def check_params(self, tree: Wiring, pipeline: Pipeline) -> None:
        """Raise Untrusted if a tree that is not trusted passes on other parameters than those of
        sampling: some of them send calls, or variables of the environment, elsewhere."""
        fallback = pipeline.load.fallback
        transforms = [pipeline.transform, fallback.transform if fallback else None]
        params = {k: v for each in transforms if each for k, v in each.params.items()}
        others = {name: value for name, value in params.items() if name not in SAMPLING}
        if not others or self.trusts(tree):
            return
        try:
            known = Catalog(self._reference).pipeline(pipeline.name).transform.params
        except LoomError:
            known = {}
        changed = sorted(name for name in others if others[name] != known.get(name))
        if changed:
            raise self._untrusted(tree, f"transform.params ({', '.join(changed)})")

    def check_code(self, tree: Wiring, specs: Iterable[EvaluatorSpec]) -> None:
        """Raise Untrusted if a tree that is not trusted has other code of Python evaluators."""
        types = [spec.type for spec in specs if ".py:" in spec.type]
        if not types or self.trusts(tree):
            return
        # Any file of the checkout could be named as an evaluator, and any function in it be called.
        if new := sorted(set(types) - self._evaluators()):
            raise self._untrusted(tree, f"the code of evaluators ({', '.join(new)})")
        here, there = (find_code(each.tree, types) for each in (self._reference, tree))
        paths = here.keys() | there.keys()
        changed = sorted(path for path in paths if here.get(path) != there.get(path))
        if changed:
            raise self._untrusted(tree, f"the code of evaluators ({', '.join(changed)})")

    def check_source(self, tree: Wiring, source: str) -> None:
        """Raise Untrusted if a tree that is not trusted reads a file outside of itself that the
        reference does not read."""
        if self.trusts(tree):
            return
        path = _file_of(tree, source)
        if path is not None and not path.is_relative_to(tree.root.resolve()):
            known = (_file_of(self._reference, each) for each in self._sources())
            if path not in known:
                raise self._untrusted(tree, f"the source {source}, which is outside of the project")

    def check_destination(self, tree: Wiring, destination: str) -> None:
        """Raise Untrusted if a tree that is not trusted writes to a destination of its choice."""
        if not self.trusts(tree):
            raise self._untrusted(tree, f"the destination of a test ({destination})")

    def _evaluators(self) -> set[str]:
        """The types of evaluators that the pipelines and tests of the reference name."""
        catalog = Catalog(self._reference)
        specs: list[EvaluatorSpec] = []
        for suite in catalog.sound_suites()[0]:
            brought = (getattr(test, "evaluator", None) for test in suite.distributional_tests)
            specs += [spec for spec in brought if spec is not None]
        for name in catalog.pipeline_names():
            with suppress(LoomError):
                specs += catalog.pipeline(name).evaluate.evaluators
        return {spec.type for spec in specs}

    def _sources(self) -> Iterator[str]:
        catalog = Catalog(self._reference)
        for suite in catalog.sound_suites()[0]:
            if suite.dataset:
                yield suite.dataset
        for name in catalog.pipeline_names():
            with suppress(LoomError):
                yield catalog.pipeline(name).extract.source

    @staticmethod
    def _untrusted(tree: Wiring, what: str) -> Untrusted:
        revision = (tree.tree.revision or "the working tree")[:12]
        return Untrusted(f"{revision} is unverified: it changes {what}", hint=HINT)


def _route(settings: ModelSettings | None) -> tuple[str, ...]:
    """Where the calls of a model and its key go."""
    if settings is None:
        return ()
    return str(settings.base_url), str(settings.api_key), str(settings.lane)


def _file_of(tree: Wiring, source: str) -> Path | None:
    """The real path of the file that a tree reads for a source; None if no file is read."""
    try:
        address = parse_address(source, tree.connection)
    except LoomError:
        return None  # opening it reports the fault
    return (tree.root / address.path).resolve()
