"""The order of an epoch: one permutation, the same on every device, machine and version of NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmtk.errors import ArgumentError

KEY_LIMIT = 2**64  # seed and epoch are the two 64-bit words of a Philox key


def permutation(n: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Order of `n` images in an epoch: a function of `seed` and `epoch` alone.

    Each row draws one 64-bit word from Philox with the key (`seed`, `epoch`), and rows are sorted by it; the word's low
    bits, as many as `n` takes, give way to the row itself, so that no two are equal.

    Parameters
    ----------
    n : int
        Number of images, below 2**32.
    seed, epoch : int
        From 0, below 2**64.

    Returns
    -------
    (n,) int64

    Raises
    ------
    ArgumentError
        If one of them is out of range.
    """
    for name, value, limit in (("n", n, 2**32), ("seed", seed, KEY_LIMIT), ("epoch", epoch, KEY_LIMIT)):
        if not 0 <= value < limit:
            raise ArgumentError(name, expected=f"0 to {limit - 1}", found=str(value))
    # raw words and a sort, since NumPy keeps Philox's words between versions but not what Generator makes of them
    words = np.random.Philox(key=np.array([seed, epoch], np.uint64)).random_raw(n)
    low = np.uint64((1 << n.bit_length()) - 1)
    words &= ~low
    words |= np.arange(n, dtype=np.uint64)
    words.sort()
    words &= low
    return words.view(np.int64)
