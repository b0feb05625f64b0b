"""Arrays are read, never written: a dataclass here is frozen, and whoever makes one hands its arrays over."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Ints = NDArray[np.int32]
