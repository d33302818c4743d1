"""The inputs of a run: file contents at their versions, the model, the variables.

A plan computes the run record's `config`, the fingerprint (a hash of everything that can change a
result) and the scope (a hash of the files that the pipeline depends on).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import asdict

from loomgit.domain.apps import AppProgram
from loomgit.domain.definitions import Pipeline
from loomgit.domain.keys import canonical, digest
from loomgit.domain.runs import RunConfig
from loomgit.domain.values import JsonMapping, JsonObject
from loomgit.domain.versions import FileVersion

if TYPE_CHECKING:
    from collections.abc import Callable

    from loomgit.domain.records import Record

REGULAR_FILE_MODE = "100644"  # Git's mode of a regular file that is not executable
# Increase this number after a change to Loom itself that affects the prompts or the evaluation.
EVALUATION_FORMAT = 3


class ModelParameters(Struct, frozen=True):
    """The model and its parameters, from a pipeline's `transform`."""

    model: str
    temperature: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    params: JsonMapping = field(default_factory=dict)


class Plan(Struct, frozen=True):
    """One pipeline, ready to run.

    `documents`, `code` and `files` map paths to Git blob ids. `documents` contains the files that
    retrieval searches. `code` contains the source and data files of the Python evaluators. `files`
    contains the other files that the pipeline depends on. `modes` maps a path to Git's mode of the
    file, if the mode is not REGULAR_FILE_MODE. `model` and `judge` are the ids in the
    configuration; `judge` is None if no evaluator calls a judge model. `endpoints` (by model name)
    and `judge_endpoint` contain the connection settings that can change a reply. `given` contains
    the variables that do not come from the pipeline file.

    If the pipeline has no transform, or a program transforms its records, `prompt` is NO_FILE and
    `model` is empty.
    """

    pipeline: Pipeline
    prompt: FileVersion
    context: Mapping[str, FileVersion]
    model: str
    judge: str | None
    variables: JsonMapping
    execution_date: datetime
    output: JsonObject | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    modes: Mapping[str, str] = field(default_factory=dict)
    documents: Mapping[str, str] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)
    endpoints: Mapping[str, JsonMapping] = field(default_factory=dict)
    judge_endpoint: JsonMapping = field(default_factory=dict)
    given: JsonMapping = field(default_factory=dict)
    program: AppProgram | None = None

    @property
    def sampling(self) -> ModelParameters:
        """The model and its parameters. The field `model` includes a pinned `model_version`."""
        transform = self.pipeline.transform
        pinned = transform.model_version
        model = f"{self.model}-{pinned}" if pinned else self.model
        return ModelParameters(
            model, transform.temperature, transform.seed, transform.max_tokens, transform.params
        )

    def parameters(self) -> dict[str, object]:
        """Return the model's parameters, the template variables (`vars`) and the judge, by name."""
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
        """Return the evaluation settings: format number, evaluators, evaluator code, and judge.

        Results with different evaluation settings are not comparable. The settings do not contain
        thresholds, weights and gates, because these do not change scores.
        """
        return {
            "format": EVALUATION_FORMAT,
            "evaluators": self._evaluator_definitions(),
            "code": dict(self.code),
            "judge": self.judge,
        }

    def judging(self) -> dict[str, object]:
        """Return the evaluation settings (see `question`) and the judge's connection settings.

        A change to any of these settings can make the evaluation more lenient.
        """
        return {**self.question(), "judge_endpoint": dict(self.judge_endpoint) or None}

    def fingerprint(self) -> str:
        """Return the SHA-256 of all settings and files that can change an output or a score.

        The records are not included. A setting of the pipeline file that cannot affect a result,
        such as the description, does not change the fingerprint. Thresholds, weights and gates
        change it only if failed records are retried or have a fallback. Otherwise, new thresholds,
        weights and gates can be applied to stored scores.
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
                "evaluators": self._evaluator_definitions(),
                "sample": evaluate.sample,
                "instead": self._replacement(),
                **self._connections(),
                **self._retrieval(),
                **({"program": self.program.identity()} if self.program is not None else {}),
            }
        )

    def _connections(self) -> dict[str, object]:
        """Return the configured connection settings of the models and the judge."""
        models = [self.model, self.sampling.model, *self.pipeline.transform.fallback_models]
        endpoints = {name: dict(self.endpoints[name]) for name in models if name in self.endpoints}
        judge = {"judge_endpoint": dict(self.judge_endpoint)} if self.judge_endpoint else {}
        return {**({"endpoints": endpoints} if endpoints else {}), **judge}

    def _evaluator_definitions(self) -> dict[str, object]:
        """Return the definitions of the evaluators, without thresholds and weights."""
        return {
            spec.name: {"type": spec.type, "criteria": spec.criteria, "config": spec.config}
            for spec in self.pipeline.evaluate.evaluators
        }

    def _retrieval(self) -> dict[str, object]:
        """Return the settings of retrieval and the documents that it searches.

        The result is empty if the pipeline has no retrieval.
        """
        retrieve = self.pipeline.transform.retrieve
        if retrieve is None and not self.documents:
            return {}
        # The glob patterns are left out, because only the files that match can change a result.
        settings = None if retrieve is None else {**asdict(retrieve), "documents": ()}
        return {"retrieve": settings, "documents": sorted(self.documents.items())}

    def _replacement(self) -> dict[str, object]:
        """Return the settings that apply after a record has failed: the retries or the fallback.

        The result includes the gate, which decides whether a record fails. The result is empty if
        there are neither retries nor a fallback.
        """
        load, evaluate = self.pipeline.load, self.pipeline.evaluate
        if load.on_failure == "retry":
            settings: dict[str, object] = {"retries": load.retries}
        elif load.on_failure == "fallback" and load.fallback is not None:
            settings = asdict(load.fallback)
            if load.fallback.extractive is None:
                del settings["extractive"]  # other fallbacks keep the fingerprint of older versions
        else:
            return {}
        policy = [(spec.name, spec.threshold, spec.weight) for spec in evaluate.evaluators]
        return {**settings, "policy": policy, "gate": asdict(evaluate.gate)}

    def dependencies(self) -> dict[str, tuple[str, str]]:
        """Return Git's mode and the blob id of every file that the pipeline depends on, by path.

        If a file is pinned to a version, the blob id is that of the version.
        """
        blobs = {self.prompt.path: self.prompt.blob} if self.prompt.path else {}
        blobs |= {version.path: version.blob for version in self.context.values()}
        blobs |= self.documents
        blobs |= self.code
        blobs |= self.files
        if self.program is not None:
            blobs |= self.program.files
        return {
            path: (self.modes.get(path, REGULAR_FILE_MODE), blob)
            for path, blob in sorted(blobs.items())
        }

    def input_paths(self) -> list[str]:
        """Return the paths of the prompt or program, the pipeline, the context, the documents."""
        context = (version.path for version in self.context.values())
        program = () if self.program is None else self.program.files
        paths = (self.prompt.path, self.pipeline.path, *context, *self.documents, *program)
        return [path for path in paths if path]

    def scope(self) -> str:
        """Return the SHA-256 of the modes, blob ids and paths of the pipeline's files."""
        return digest([(*entry, path) for path, entry in self.dependencies().items()])

    def config(self) -> RunConfig:
        """Return the `config` of the run record."""
        return RunConfig(
            prompt_version=self.prompt.name or None,
            prompt_blob=self.prompt.blob or None,
            model=self.model,
            model_version=self.pipeline.transform.model_version,
            context_versions={name: version.name for name, version in self.context.items()},
            context_blobs={name: version.blob for name, version in self.context.items()},
            parameters=self.parameters(),
            fingerprint=self.fingerprint(),
            program=None if self.program is None else self.program.title,
        )


def case_identifier(plan: Plan) -> Callable[[Record], tuple[str, str]]:
    """Return a function that maps a record to the key and the definition of its case.

    The key is a hash of everything that can change the scores. The definition is a hash of only the
    input and the evaluation settings (`Plan.question`).
    """
    # A hash is `digest([fingerprint, digest(record.input)])`. The beginning is hashed only once.
    keys, definitions = map(_begin_pair, (plan.fingerprint(), digest(plan.question())))

    def identity(record: Record) -> tuple[str, str]:
        content = f'{digest(record.input)}"]'.encode()
        key, definition = keys.copy(), definitions.copy()
        key.update(content)
        definition.update(content)
        return key.hexdigest(), definition.hexdigest()

    return identity


def _begin_pair(first: str) -> hashlib._Hash:
    """Return the hash of the canonical JSON of a list of two digests, up to the second digest."""
    return hashlib.sha256(canonical([first, ""]).removesuffix(b'"]'))
