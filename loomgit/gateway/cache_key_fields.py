"""Builds the part of a cache key that a pipeline defines with `cache.key_fields`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.keys import canonical

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from loomgit.domain.values import JsonMapping

# `key_fields` may contain these names, but they have no effect: every cache key contains the model
# and the version of the prompt.
ALWAYS = ("model", "prompt_version")


class CacheKeyFields:
    """Returns a text that replaces the rendered prompt in the cache key.

    The text contains the inputs of the prompt: the chosen fields of the record, the Git blob id of
    the prompt file, the names and Git blob ids of the context files, and the variables from
    `--vars`. `warn` receives a message about the first record that lacks a chosen field.
    """

    def __init__(
        self,
        key_fields: Sequence[str],
        *,
        prompt: str,
        context: Mapping[str, str],
        variables: JsonMapping,
        warn: Callable[[str], None],
    ) -> None:
        self._fields = tuple(name for name in key_fields if name not in ALWAYS)
        self._fixed = {
            "prompt": prompt,
            "context": dict(context),
            "vars": dict(variables),
        }
        self._warn: Callable[[str], None] | None = warn

    def __call__(self, row: JsonMapping) -> str | None:
        """Return the text for `Request.stand_in`, or None if the record lacks a chosen field.

        If the result is None, the caller must not cache the reply.
        """
        missing = [name for name in self._fields if name not in row]
        if not missing:
            fields = {name: row[name] for name in self._fields}
            return canonical({**self._fixed, "input": fields}).decode()
        if self._warn is not None:
            self._warn(
                f"transform.cache.key_fields: a record has no field '{missing[0]}': replies to "
                "such records are not cached"
            )
            self._warn = None
        return None
