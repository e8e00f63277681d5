"""Computes quantiles of the symmetric beta distribution."""


def beta_quantile(share: float, alpha: float) -> float:
    """Returns x with P(X <= x) = share, for X of Beta(alpha, alpha).

    >>> beta_quantile(0.25, 1.0), round(beta_quantile(0.9, 0.2), 6), beta_quantile(0.5, 3.0)
    (0.25, 0.999752, 0.5)

    With s = x^alpha the density is (1 - s^(1 / alpha))^(alpha - 1), which rises for alpha < 1 and
    falls for alpha > 1. So Newton's method comes from one side and needs no bounds.
    """
    if share > 0.5:
        return 1 - beta_quantile(1 - share, alpha)
    middle = 0.5**alpha
    target = 2 * share * _integral(middle, alpha)
    found = middle if alpha < 1 else 0.0
    for _ in range(100):
        step = (_integral(found, alpha) - target) / (1 - found ** (1 / alpha)) ** (alpha - 1)
        found -= step
        if abs(step) <= 1e-15 * found:
            break
    return float(min(0.5, max(0.0, found) ** (1 / alpha)))


def _integral(end: float, alpha: float) -> float:
    """Returns the integral of the density over s from 0 to `end`, by its power series."""
    x, term, total = end ** (1 / alpha), 1.0, 0.0
    for number in range(200):
        total += term * alpha / (alpha + number)
        term *= (number + 1 - alpha) / (number + 1) * x
        if abs(term) < 1e-17:
            break
    return end * total
