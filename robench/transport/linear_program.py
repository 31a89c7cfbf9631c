"""The transport problem that is dual to the hinge-regularised Kantorovich-Rubinstein loss (paper, Theorem 2)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64
from scipy.optimize import LinearConstraint, milp
from scipy.sparse import eye_array, kron, vstack
from scipy.spatial.distance import cdist

from robench.arrays import Array
from robench.errors import DataError, SpecError

MOST_PAIRS = 1_000_000
"""Pairs of points up to which the linear program is solved; some minutes and 2 GiB at the end of that."""
TOLERANCE = 1e-6
"""Of the optimum, relative to the largest distance: HiGHS keeps constraints to 1e-7."""


class Optimum(NamedTuple):
    """Optimum of the transport problem.

    Fields:
        value: of both sides of Eq. (7), in the units of the points.
        transported: the part of the value that is the cost of the plan.
        tolerance: how far the solver's value may be off.
        plan: (n, k) mass from each positive to each negative point.
    """

    value: float
    transported: float
    tolerance: float
    plan: Float64[Array, "n k"]


def hinge_transport(
    positive: Float64[Array, "n d"], negative: Float64[Array, "k d"], *, alpha: float, margin: float
) -> Optimum:
    """The largest -L^hKR(f) of any 1-Lipschitz f on two samples, by linear programming (Eq. 7).

    With n+ and n- points, mass pi_ij from x_i to z_j, and h = alpha / (n+ + n-): minimise the sum of
    (|x_i - z_j| - 2 m) pi_ij, plus 2 m, where each x_i sends a mass in [1/n+, 1/n+ + h] and each z_j receives one in
    [1/n-, 1/n- + h]. This is Eq. (7) for the loss as Eq. (5) and (12) write it: expectations of the
    Kantorovich-Rubinstein part by class, of the hinge over all examples, margin m; docs/design/0006 derives it.

    Args:
        positive: points of the class +1.
        negative: points of the class -1.
        alpha: weight of the hinge; 0 gives the Wasserstein-1 distance.
        margin: m.

    Raises:
        DataError: a class has no point, or there are too many pairs for the linear program.
        SpecError: alpha or the margin is negative.
    """
    if alpha < 0 or margin < 0:
        raise SpecError(f"alpha {alpha} and margin {margin} must not be negative", hint="give numbers from 0 up")
    n, k = len(positive), len(negative)
    if n == 0 or k == 0:
        raise DataError("a class has no point to be transported", hint="raise --limit")
    if n * k > MOST_PAIRS:
        raise DataError(
            f"{n} times {k} points make {n * k} pairs, more than {MOST_PAIRS} for the linear program",
            hint="lower --limit; 600 points take seconds",
        )
    distance = cdist(positive, negative).ravel()
    sent: Any = kron(eye_array(n), np.ones((1, k)), format="csr")
    received: Any = kron(np.ones((1, n)), eye_array(k), format="csr")
    least = np.concatenate([np.full(n, 1 / n), np.full(k, 1 / k)])
    masses = LinearConstraint(vstack([sent, received], format="csr"), least, least + alpha / (n + k))
    solved = milp(distance - 2 * margin, constraints=masses)
    if solved.x is None:
        raise DataError(f"the linear program was not solved: {solved.message}", hint="lower --limit")
    scale = max(1.0, float(distance.max())) * (1 + alpha)
    return Optimum(
        float(solved.fun) + 2 * margin, float(distance @ solved.x), TOLERANCE * scale, solved.x.reshape(n, k)
    )
