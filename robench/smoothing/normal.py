"""The normal distribution function to thirty digits, for what double precision cannot prove: docs/design/0020."""

from __future__ import annotations

from decimal import Context, Decimal, localcontext
from fractions import Fraction

PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899")
DIGITS = 60
"""Of every step."""
ERROR = Decimal("1e-30")
"""Bound of the error of `normal_cdf`."""
FAR = 12
"""Beyond, less than 2e-33 is left."""
SMALL = Decimal("1e-50")


def normal_cdf(t: Fraction) -> Decimal:
    """The probability that a standard normal variable is at most `t`, with an error of at most `ERROR`.

    1/2 + φ(t) (t + t³/3 + t⁵/(3·5) + …): all terms have one sign, so nothing cancels.
    """
    with localcontext(Context(prec=DIGITS)):
        if t < 0:
            return 1 - normal_cdf(-t)
        if t > FAR:
            return Decimal(1)
        x = Decimal(t.numerator) / Decimal(t.denominator)
        square, odd = x * x, 1
        term = total = x
        while term > SMALL or odd < 2 * square:  # then each term is less than half of the one before
            odd += 2
            term = term * square / odd
            total += term
        return Decimal("0.5") + total * (-square / 2).exp() / (2 * PI).sqrt()
