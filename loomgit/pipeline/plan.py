"""What a run is made of before it begins: contents at their versions, the model, the variables.

From these come the run record's `config`, the fingerprint (a hash of all that can change a result)
and the scope (a hash over the files that the pipeline depends on).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import asdict

from loomgit.domain.definitions import Pipeline
from loomgit.domain.keys import digest
from loomgit.domain.runs import RunConfig
from loomgit.domain.values import JsonMapping, JsonObject
from loomgit.domain.versions import FileVersion

if TYPE_CHECKING:
    from collections.abc import Callable

    from loomgit.domain.records import Record

PLAIN = "100644"  # Git's mode of a file that is neither executable nor a link
# Raised when the same inputs would be judged differently, or another question be asked of them.
EVALUATION_FORMAT = 3


class Sampling(Struct, frozen=True):
    """How the model is asked: what a pipeline's `transform` says of the model."""

    model: str
    temperature: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    params: JsonMapping = field(default_factory=dict)


class Plan(Struct, frozen=True):
    """One pipeline, ready to run. `files` holds the other files it depends on, path to blob, and
    `modes` Git's mode of every file that is no plain one; `documents` are the files that are
    searched for the records, `code` those that the Python evaluators consist of and read, path to
    blob; `model` and `judge` are ids as configured (None: no evaluator asks a judge).
    `endpoints` (of the models, by name) and `judge_endpoint` say how the configuration reaches
    them, as far as that can change a reply."""

    pipeline: Pipeline
    prompt: FileVersion
    context: Mapping[str, FileVersion]
    model: str
    judge: str | None
    variables: Mapping[str, str]
    execution_date: datetime
    output: JsonObject | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    modes: Mapping[str, str] = field(default_factory=dict)
    documents: Mapping[str, str] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)
    endpoints: Mapping[str, JsonMapping] = field(default_factory=dict)
    judge_endpoint: JsonMapping = field(default_factory=dict)

    @property
    def sampling(self) -> Sampling:
        """How the model is asked; a pinned snapshot is part of the id that is sent."""
        transform = self.pipeline.transform
        pinned = transform.model_version
        model = f"{self.model}-{pinned}" if pinned else self.model
        return Sampling(
            model, transform.temperature, transform.seed, transform.max_tokens, transform.params
        )

    def parameters(self) -> dict[str, object]:
        """What was passed to the model and to the templates besides the contents."""
        transform = self.pipeline.transform
        return {
            "temperature": transform.temperature,
            "seed": transform.seed,
            "max_tokens": transform.max_tokens,
            "params": dict(transform.params),
            "vars": dict(self.variables),
            "judge": self.judge,
        }

    def question(self) -> dict[str, object]:
        """What the results answer: results of different questions cannot be compared.

        Thresholds, weights and gates are not in it: they decide over scores, and change none.
        """
        return {
            "format": EVALUATION_FORMAT,
            "evaluators": self._asked(),
            "code": dict(self.code),
            "judge": self.judge,
        }

    def judging(self) -> dict[str, object]:
        """The question, and how the judge is reached: what a change may soften."""
        return {**self.question(), "judge_endpoint": dict(self.judge_endpoint) or None}

    def fingerprint(self) -> str:
        """sha256 over everything that can change an output or a score, the records aside.

        Of the pipeline file only what matters to a result is in it: a new description changes none.
        Neither do thresholds, weights and gates: they decide over stored scores as well.
        """
        transform, evaluate = self.pipeline.transform, self.pipeline.evaluate
        others = {path: blob for path, blob in self.files.items() if path != self.pipeline.path}
        return digest(
            {
                "format": EVALUATION_FORMAT,
                "prompt": self.prompt.blob,
                "files": sorted(others.items()),
                "code": sorted(self.code.items()),
                "context": {name: version.blob for name, version in self.context.items()},
                "context_field": transform.context_field,
                "output": self.output,
                "load_schema": self.pipeline.load.schema,
                "model": self.sampling.model,
                "fallback_models": transform.fallback_models,
                "parameters": self.parameters(),
                "evaluators": self._asked(),
                "sample": evaluate.sample,
                "instead": self._instead(),
                **self._reached(),
                **self._searched(),
            }
        )

    def _reached(self) -> dict[str, object]:
        """How the models and the judge are reached, where the configuration says so."""
        asked = [self.model, self.sampling.model, *self.pipeline.transform.fallback_models]
        found = {name: dict(self.endpoints[name]) for name in asked if name in self.endpoints}
        more = {"judge_endpoint": dict(self.judge_endpoint)} if self.judge_endpoint else {}
        return {**({"endpoints": found} if found else {}), **more}

    def _asked(self) -> dict[str, object]:
        """What the evaluators are asked, without what decides over their scores."""
        return {
            spec.name: {"type": spec.type, "criteria": spec.criteria, "config": spec.config}
            for spec in self.pipeline.evaluate.evaluators
        }

    def _searched(self) -> dict[str, object]:
        """What decides on the documents that records get, where any are searched."""
        retrieve = self.pipeline.transform.retrieve
        if retrieve is None and not self.documents:
            return {}
        how = None if retrieve is None else {**asdict(retrieve), "documents": ()}  # globs: no more
        return {"retrieve": how, "documents": sorted(self.documents.items())}

    def _instead(self) -> dict[str, object]:
        """What becomes of a record that fails, where that is another result."""
        load, evaluate = self.pipeline.load, self.pipeline.evaluate
        if load.on_failure == "retry":
            instead: dict[str, object] = {"retries": load.retries}
        elif load.on_failure == "fallback" and load.fallback is not None:
            instead = asdict(load.fallback)
        else:
            return {}
        policy = [(spec.name, spec.threshold, spec.weight) for spec in evaluate.evaluators]
        return {**instead, "policy": policy, "gate": asdict(evaluate.gate)}

    def dependencies(self) -> dict[str, tuple[str, str]]:
        """Git's mode and blob id of every file that the pipeline depends on, by path.

        A file that is pinned to a version has the blob of that version.
        """
        blobs = {self.prompt.path: self.prompt.blob}
        blobs |= {version.path: version.blob for version in self.context.values()}
        blobs |= self.documents
        blobs |= self.code
        blobs |= self.files
        return {path: (self.modes.get(path, PLAIN), blob) for path, blob in sorted(blobs.items())}

    def scope(self) -> str:
        """sha256 over mode, blob and path of the pipeline's files."""
        return digest([(*entry, path) for path, entry in self.dependencies().items()])

    def config(self) -> RunConfig:
        """The `config` of the run record."""
        return RunConfig(
            prompt_version=self.prompt.name,
            prompt_blob=self.prompt.blob,
            model=self.model,
            model_version=self.pipeline.transform.model_version,
            context_versions={name: version.name for name, version in self.context.items()},
            context_blobs={name: version.blob for name, version in self.context.items()},
            parameters=self.parameters(),
            fingerprint=self.fingerprint(),
        )


def identify(plan: Plan) -> Callable[[Record], tuple[str, str]]:
    """A function from a record to its case's key (all that can change its scores) and definition
    (the question alone: input, evaluators, judge)."""
    fingerprint, question = plan.fingerprint(), digest(plan.question())

    def identity(record: Record) -> tuple[str, str]:
        content = digest(record.input)
        return digest([fingerprint, content]), digest([question, content])

    return identity
