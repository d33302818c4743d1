"""What a pipeline's `cache.key_fields` make of a record: the part of its key that is the input."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.keys import canonical

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from loomgit.domain.values import JsonMapping

ALWAYS = ("model", "prompt_version")  # they are in every key, whether named or not


class StandIn:
    """Stands for a rendered prompt by the named fields of its record and what they meet.

    `prompt` and `context` (by name) are blobs, `variables` what `--vars` gave. `warn` is told of
    the first record that lacks a field.
    """

    def __init__(
        self,
        key_fields: Sequence[str],
        *,
        prompt: str,
        context: Mapping[str, str],
        variables: Mapping[str, str],
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
        """The text for `Request.stand_in`; None for a record whose reply is not to be cached."""
        missing = [name for name in self._fields if name not in row]
        if not missing:
            named = {name: row[name] for name in self._fields}
            return canonical({**self._fixed, "input": named}).decode()
        if self._warn is not None:
            self._warn(
                f"transform.cache.key_fields: a record has no field '{missing[0]}': replies to "
                "such records are not cached"
            )
            self._warn = None
        return None
