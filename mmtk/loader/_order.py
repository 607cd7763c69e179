"""The order of an epoch: one permutation, the same on every device and machine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def permutation(n: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Order of `n` images in an epoch: a function of `seed` and `epoch` alone.

    Parameters
    ----------
    n : int
        Number of images.
    seed, epoch : int
        The two words of the key of NumPy's Philox generator, from 0.

    Returns
    -------
    (n,) int64
    """
    return np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(n)
