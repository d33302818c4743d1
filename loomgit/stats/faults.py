"""What statistics refuse."""


class NoValues(ValueError):
    """There is nothing to judge: no value, or none that is not missing."""


class OutOfRange(ValueError):
    """A value lies outside the range that the metric was declared with."""
