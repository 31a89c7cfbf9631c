"""foolbox, which imports a deprecated name of scipy."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import foolbox

__all__ = ["foolbox"]
