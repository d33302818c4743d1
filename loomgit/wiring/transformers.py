"""Builds the transformers of a run: of prompts and models, of programs, and of copies."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from loomgit.apps.outputs import AppSchemas
from loomgit.domain.json_schema import compile_schema, describe_faults
from loomgit.domain.passages import RETRIEVED
from loomgit.gateway.cache_key_fields import CacheKeyFields
from loomgit.pipeline.output import OutputReader
from loomgit.pipeline.program import ProgramTransformer
from loomgit.pipeline.retrieval import Retrieval
from loomgit.pipeline.transform import CopyTransformer, Transformer
from loomgit.retrieval.registry import open_retriever
from loomgit.wiring.documents import read_documents
from loomgit.wiring.placed_errors import placed
from loomgit.wiring.planning import Planning
from loomgit.wiring.program_hosts import ProgramHosts

if TYPE_CHECKING:
    from loomgit.domain.apps import AppProgram
    from loomgit.domain.ports import Gateway
    from loomgit.domain.values import JsonObject
    from loomgit.pipeline.plan import Plan
    from loomgit.pipeline.prompt import Prompt
    from loomgit.pipeline.transform import RecordTransformer
    from loomgit.wiring.project import Wiring


class Transformers(Planning):
    """Builds the transformers of the pipelines of one tree.

    Programs run in workers, which `close` ends.
    """

    def __init__(self, wiring: Wiring) -> None:
        super().__init__(wiring)
        self._hosts = ProgramHosts(wiring)

    async def close(self) -> None:
        """End the workers of all programs."""
        await self._hosts.close()

    def transformer(
        self, plan: Plan, prompt: Prompt, gateway: Gateway, context_field: str | None
    ) -> RecordTransformer:
        """Return the transformer of a plan."""
        if plan.program is not None:
            return self._program_transformer(plan, plan.program)
        if plan.pipeline.transform.type == "none":
            return CopyTransformer()
        return Transformer(
            prompt,
            gateway,
            plan.sampling,
            context={name: file.text for name, file in plan.context.items()},
            context_field=context_field,
            variables=plan.variables,
            reader=OutputReader(plan.output),
            stand_in=self._cache_key_fields(plan),
        )

    def _program_transformer(self, plan: Plan, program: AppProgram) -> ProgramTransformer:
        settings, schema = program.settings, plan.pipeline.transform.output
        validator = None if schema is None else compile_schema(schema)
        return ProgramTransformer(
            self._hosts.host(program),
            AppSchemas(settings.input_schema, settings.output_schema),
            program.title,
            schema=schema,
            describe_faults=partial(describe_faults, validator) if validator else _accept,
        )

    def _cache_key_fields(self, plan: Plan) -> CacheKeyFields | None:
        """Return the inputs of the cache key, or None if the pipeline has no `cache.key_fields`."""
        rule = plan.pipeline.transform.cache
        if rule is None or not rule.key_fields:
            return None
        searched = {f"{RETRIEVED}:{path}": blob for path, blob in plan.documents.items()}
        return CacheKeyFields(
            rule.key_fields,
            prompt=plan.prompt.blob,
            context={name: file.blob for name, file in plan.context.items()} | searched,
            variables=plan.variables,
            warn=self.wiring.warn,
        )

    def retrieval(self, plan: Plan, key: str = "transform") -> Retrieval | None:
        """Return the search that adds documents to the records, or None if none is configured.

        `key` is the key of the transform in the pipeline file. Raises ProblemsFound if the
        documents cannot be searched, and WorldError if they cannot be read.
        """
        transform, pipeline, tree = plan.pipeline.transform, plan.pipeline, self.wiring.tree
        retrieve, field = transform.retrieve, transform.documents_field
        if retrieve is None or field is None:
            return None

        def read() -> dict[str, str]:
            return read_documents(tree, pipeline, key, dict(plan.documents))

        folder = self.wiring.repository.common_dir / "loom" / "documents"
        with placed(pipeline, f"{key}.retrieve.retriever"):
            retriever = open_retriever(retrieve.retriever, plan.documents, read, folder)
        return Retrieval(
            retriever, field=field, query_field=retrieve.query_field, count=retrieve.top_k
        )


def _accept(fields: JsonObject) -> str:
    """Return "": without a schema, an output has no faults."""
    del fields
    return ""
