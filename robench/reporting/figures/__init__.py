"""The figures of a report, each a matplotlib `Figure` made without pyplot."""

from robench.reporting.figures.accuracy import accuracy, comparison
from robench.reporting.figures.attacks import accuracy_by_passes, radius_distance, single_attacks
from robench.reporting.figures.gallery import image_grid, plane_gallery
from robench.reporting.figures.look import image_bytes, style
from robench.reporting.figures.potential import gradient_norms, level_map, output_distributions
from robench.reporting.figures.smoothed import smoothed

__all__ = [
    "accuracy",
    "accuracy_by_passes",
    "comparison",
    "gradient_norms",
    "image_bytes",
    "image_grid",
    "level_map",
    "output_distributions",
    "plane_gallery",
    "radius_distance",
    "single_attacks",
    "smoothed",
    "style",
]
