"""`loom schema`: prints the JSON Schema of a file type, which editors can use."""

from __future__ import annotations

from typing import cast

import click
import orjson

from loomgit.commands.options import Common, common
from loomgit.commands.screen import echo_document
from loomgit.config.schema import KINDS, Kind, json_schema


@click.command("schema")
@click.argument("kind", type=click.Choice(KINDS))
@common
def command(options: Common, kind: str) -> None:
    """Print the JSON Schema of pipeline, test or configuration files.

    The schema follows draft 2020-12.
    """
    del options  # unused: the schema does not depend on the project and is always JSON
    schema = json_schema(cast("Kind", kind))
    echo_document(orjson.dumps(schema, option=orjson.OPT_INDENT_2).decode())
