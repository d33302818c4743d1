"""`loom schema`: prints the JSON Schema of a file type, which editors and programs can use."""

from __future__ import annotations

from typing import cast

import click
import orjson

from loomgit.commands.options import Common, common
from loomgit.commands.screen import echo_document
from loomgit.config.schema import KINDS, Kind, json_schema
from loomgit.history.file_schemas import records_schema, run_schema

RESULT_SCHEMAS = {"run": run_schema, "records": records_schema}


@click.command("schema")
@click.argument("kind", type=click.Choice([*KINDS, *RESULT_SCHEMAS]))
@common
def command(options: Common, kind: str) -> None:
    """Print the JSON Schema of a file type.

    \b
    Files that you write:    pipeline, test, config, app, dependencies (of an app)
    Files that Loom writes:  run (a run file), records (one line of a records file)

    The schema follows draft 2020-12.
    """
    del options  # unused: the schema does not depend on the project and is always JSON
    result_schema = RESULT_SCHEMAS.get(kind)
    schema = json_schema(cast("Kind", kind)) if result_schema is None else result_schema()
    echo_document(orjson.dumps(schema, option=orjson.OPT_INDENT_2).decode())
