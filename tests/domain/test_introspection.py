"""What users take apart with `help`, an editor or a test library says what it is made of."""

import importlib
import inspect
import pkgutil

import msgspec
import pytest

import loomgit.domain


def structs():
    for module in pkgutil.iter_modules(loomgit.domain.__path__, "loomgit.domain."):
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, type) and issubclass(value, msgspec.Struct):
                yield value


@pytest.mark.parametrize("kind", sorted(set(structs()), key=str), ids=lambda kind: kind.__name__)
def test_it_has_a_signature(kind):
    assert list(inspect.signature(kind).parameters) == list(kind.__struct_fields__)
