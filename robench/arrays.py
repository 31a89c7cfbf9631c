"""Arrays by the kind of their numbers; annotations add the sizes: `Float64[Array, "n q"]` (docs/design/0014)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
