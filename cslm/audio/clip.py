"""A clip: samples with their rate, as synthesizers say them and ears hear them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Clip = tuple[NDArray[np.float32], int]
"""A mono waveform ``(num_samples,)`` in [-1, 1] and its sample rate in Hz."""
