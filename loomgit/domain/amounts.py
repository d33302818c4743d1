"""Amounts in USD as text, always without an exponent (`0.000074`, not `7.4e-05`), and rates."""

from __future__ import annotations

import math

MAX_DECIMALS = 12
SMALLEST_PLAIN = 0.0001  # Python prints smaller numbers with an exponent


def decimals_for(amount: float) -> int:
    """Return the number of decimals that show two significant digits of an amount below 1 USD.

    It is at least 2 and at most MAX_DECIMALS.
    """
    if not amount:
        return 2
    return min(max(1 - math.floor(math.log10(abs(amount))), 2), MAX_DECIMALS)


def dollars(amount: float) -> str:
    """Return an amount in USD with two decimals; below $0.10 with two significant digits."""
    if amount == 0 or abs(amount) >= 0.1:
        return f"${amount:,.2f}"
    whole, _, fraction = f"{amount:.{decimals_for(amount)}f}".partition(".")
    return f"${whole}.{fraction.rstrip('0'):0<2}"


def percent_pair(rate: float, limit: float) -> str:
    """Return two rates as text (`92.0% < 95.0%`), with enough digits to show the difference."""
    digits = 1
    while f"{rate:.{digits}%}" == f"{limit:.{digits}%}" and digits < 10:
        digits += 1
    return f"{rate:.{digits}%} < {limit:.{digits}%}"
