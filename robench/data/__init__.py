"""Data sets: numpy arrays from built-in generators and canonical files, checked before use. No torch here.

`load` is the door; what it returns is a `Dataset`, the split of a set or a subset of it.
"""

from robench.data.apart import TwoClasses, two_classes
from robench.data.dataset import Dataset, Subset
from robench.data.loading import NAMES, load

__all__ = ["NAMES", "Dataset", "Subset", "TwoClasses", "load", "two_classes"]
