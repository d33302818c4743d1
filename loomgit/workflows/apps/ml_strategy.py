"""The strategy `ml`: trains a text classifier on labelled examples. No model is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.apps.outputs import AppSchemas
from loomgit.domain.training import LabelledExample
from loomgit.errors import UserError
from loomgit.training.train import train_text_classifier

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.apps.examples import AppExample
    from loomgit.domain.apps import AppSettings
    from loomgit.domain.training import TrainedProgram

SCALARS = (str, int, float, bool, type(None))


def train_program(settings: AppSettings, examples: Sequence[AppExample]) -> TrainedProgram:
    """Return a trained program with a report on the examples that it never saw.

    The program uses the fields of the inputs that are texts, numbers or booleans. Raises UserError
    if an example has no label or does not match the schemas of the app, or if the examples are not
    sufficient for training.
    """
    if not examples:
        raise UserError("the strategy ml needs labelled examples", hint="use --examples FILE")
    schemas = AppSchemas(settings.input_schema, settings.output_schema)
    labelled = []
    for example in examples:
        if not example.labelled:
            raise UserError(
                f"{example.place} has no label",
                hint="the label is in the field `label`, unless --label names another field",
            )
        if fault := schemas.input_fault(example.input):
            raise UserError(f"{example.place} does not match input_schema: {fault}")
        if fault := schemas.output_fault(example.expected):
            raise UserError(f"{example.place}: the label does not match output_schema: {fault}")
        labelled.append(LabelledExample(example.input, example.expected, example.place))
    return train_text_classifier(labelled, fields=usable_fields(examples))


def usable_fields(examples: Sequence[AppExample]) -> list[str]:
    """Return the fields that contain only texts, numbers, booleans and nulls, in order."""
    names: dict[str, bool] = {}
    for example in examples:
        for name, value in example.input.items():
            names[name] = names.get(name, True) and isinstance(value, SCALARS)
    return [name for name, is_usable in names.items() if is_usable]
