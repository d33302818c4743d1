"""The errors of the statistics."""


class NoValues(ValueError):
    """There are no values, or all of them are missing."""


class OutOfRange(ValueError):
    """A value is outside the declared range of its metric."""
