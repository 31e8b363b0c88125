"""Student's t distribution: the quantile that a confidence interval needs, without a dependency on scipy."""

from __future__ import annotations

import math

_ROUNDS = 2000
_TINY = 1e-300


def t_quantile(confidence: float, freedom: int) -> float:
    """Return the t that a variable with ``freedom`` degrees of freedom exceeds in size with probability 1 - ``confidence``.

    Accurate to about 10 digits. ``ValueError`` unless ``0 < confidence < 1`` and ``freedom >= 1``.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, such as 0.95, not {confidence!r}")
    if freedom < 1:
        raise ValueError(f"an interval needs two values or more, not {freedom + 1}")
    outside = 1.0 - confidence
    low, high = 0.0, 1.0
    while _outside(high, freedom) > outside:
        low, high = high, high * 2
    while (middle := (low + high) / 2) not in (low, high):
        if _outside(middle, freedom) > outside:
            low = middle
        else:
            high = middle
    return high


def _outside(t: float, freedom: int) -> float:
    """Return the probability of a value larger than t in size."""
    # As a share of the larger of the two, so that a large t * t does not overflow.
    ratio = t / math.sqrt(freedom)
    x = 1.0 / (1.0 + ratio * ratio)
    return _beta(x, ratio * ratio * x, freedom / 2, 0.5)


def _beta(x: float, y: float, a: float, b: float) -> float:
    """Return the regularized incomplete beta function at x; y is 1 - x."""
    if x <= 0.0 or y <= 0.0:
        return 0.0 if x <= 0.0 else 1.0
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(y))
    # The continued fraction converges fast only below the mean.
    if x < (a + 1) / (a + b + 2):
        return front * _fraction(x, a, b) / a
    return 1.0 - front * _fraction(y, b, a) / b


def _fraction(x: float, a: float, b: float) -> float:
    """Return the continued fraction of the incomplete beta function, by the method of Lentz."""
    c, d = 1.0, 1.0 / _not_zero(1.0 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _ROUNDS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for step in (even, odd):
            d = 1.0 / _not_zero(1.0 + step * d)
            c = _not_zero(1.0 + step / c)
            value *= c * d
        if abs(c * d - 1.0) < 1e-15:
            break
    return value


def _not_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
