"""What the gradient says at one attacked image. No torch here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Direction:
    """The gradient at one image.

    Fields:
        index: position of the image in its split.
        slope: norm of the gradient of the predicted class's logit (one logit: of f); 1 for the optimal f of the paper.
        cosine: of the angle between the way to the nearest adversarial example and the way on which the gap of the two
            classes falls fastest, -f grad f for one logit; None where no example was found.
    """

    index: int
    slope: float
    cosine: float | None
