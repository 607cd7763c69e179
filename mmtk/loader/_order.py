"""The order of an epoch, which depends only on seed and epoch, not on device, machine or version of NumPy."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmtk.errors import ArgumentError

KEY_LIMIT = 2**64  # seed and epoch are the two 64-bit words of a Philox key


def permutation(n: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Order of `n` images in an epoch, which depends only on `seed` and `epoch`.

    Each row draws a 64-bit word from Philox with the key (`seed`, `epoch`), and rows are sorted by it; the low bits of
    the word, as many as `n` takes, are replaced by the row number, so that no two words are equal.

    Parameters
    ----------
    n : int
        Number of images, below 2**32.
    seed, epoch : int
        At least 0, below 2**64.

    Returns
    -------
    (n,) int64

    Raises
    ------
    ArgumentError
        If an argument is out of range.

    Examples
    --------
    >>> from mmtk.loader import permutation
    >>> permutation(6, seed=0, epoch=0)
    array([0, 2, 1, 5, 4, 3])
    """
    for name, value, limit in (("n", n, 2**32), ("seed", seed, KEY_LIMIT), ("epoch", epoch, KEY_LIMIT)):
        if not 0 <= value < limit:
            raise ArgumentError(name, expected=f"0 to {limit - 1}", found=str(value))
    return _ranked(_words(n, seed, epoch))


def windowed(n: int, seed: int, epoch: int, chunk: int, window: int) -> NDArray[np.int64]:
    """An order that reads a store nearly sequentially: chunks are permuted, and rows only within `window` chunks.

    The cost: the rows of a batch come from one or two windows, so they are not independent draws from the split. Let
    rho be the correlation between two rows of a chunk in the quantity averaged over a batch (the share of variance
    between chunks: 1 if a store is sorted by class, 0 if its rows are already mixed). Then the variance of the mean
    over a batch of size b exceeds that of a full shuffle by a factor of about ``1 + (b - 1) rho / window``: with as
    many chunks in a window as images in a batch it at most doubles, even in the worst case.

    Parameters
    ----------
    n : int
        Number of images.
    seed, epoch : int
        As for `permutation`.
    chunk : int
        Rows per chunk.
    window : int
        Chunks shuffled together, at least 1.

    Returns
    -------
    (n,) int64

    Examples
    --------
    >>> from mmtk.loader import windowed
    >>> order = windowed(6, seed=0, epoch=0, chunk=2, window=1)
    >>> (order // 2)[::2].tolist() == (order // 2)[1::2].tolist()
    True
    """
    chunks = -(-n // chunk)
    words = _words(chunks + n, seed, epoch)
    place = np.empty(chunks, np.int64)
    place[_ranked(words[:chunks])] = np.arange(chunks)
    return np.lexsort((words[chunks:], np.repeat(place // window, chunk)[:n]))


def weighted_draw(weights: NDArray[np.float64], seed: int, epoch: int) -> NDArray[np.int64]:
    """As many rows as there are weights, drawn with replacement, with probabilities proportional to the weights."""
    ends = np.cumsum(weights)
    uniform = (_words(len(weights), seed, epoch) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    last = np.flatnonzero(weights)[-1]  # a product may round up to the end
    rows: NDArray[np.int64] = np.minimum(np.searchsorted(ends, uniform * ends[-1], side="right"), last)
    return rows


def _words(count: int, seed: int, epoch: int) -> NDArray[np.uint64]:
    # raw words and sorting, since NumPy guarantees Philox's words across versions but not Generator's methods
    words: NDArray[np.uint64] = np.random.Philox(key=np.array([seed, epoch], np.uint64)).random_raw(count)
    return words


def _ranked(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    n = len(words)
    low = np.uint64((1 << n.bit_length()) - 1)
    ranked = words & ~low | np.arange(n, dtype=np.uint64)
    ranked.sort()
    ranked &= low
    return ranked.view(np.int64)


@dataclass(frozen=True)
class Order:
    """The rows of an epoch in order, and the part of it that belongs to one of several processes.

    Attributes
    ----------
    n : int
        Number of images.
    shuffle : bool
    seed : int
    weights : (n,) float64, optional
        Weights of rows, which are then drawn with replacement.
    window, chunk : int
        With a window of at least 1, the order is `windowed`.
    rank, world_size : int
        This process takes every `world_size`-th row starting at `rank`, so that all batches together are those of a
        single process with a batch `world_size` times as large.
    even : {"", "pad", "drop"}
        How all processes get the same number of rows: the first rows are repeated, or the last ones dropped.
    """

    n: int
    shuffle: bool
    seed: int
    weights: NDArray[np.float64] | None = field(default=None, repr=False)
    window: int = 0
    chunk: int = 1
    rank: int = 0
    world_size: int = 1
    even: str = ""

    def __len__(self) -> int:
        """Number of rows of this process."""
        if self.even == "drop":
            return self.n // self.world_size
        return -(-(self.n - (0 if self.even == "pad" else self.rank)) // self.world_size)

    @property
    def stored(self) -> bool:
        """Whether it is all rows in stored order."""
        return not self.shuffle and self.weights is None and self.world_size == 1

    def rows(self, epoch: int) -> NDArray[np.int64]:
        """This process's rows in an epoch."""
        if self.weights is not None:
            order = weighted_draw(self.weights, self.seed, epoch)
        elif not self.shuffle:
            order = np.arange(self.n)
        elif self.window:
            order = windowed(self.n, self.seed, epoch, self.chunk, self.window)
        else:
            order = permutation(self.n, self.seed, epoch)
        if self.world_size == 1:
            return order
        if self.even == "pad":
            order = np.resize(order, len(self) * self.world_size)
        return np.ascontiguousarray(order[self.rank :: self.world_size][: len(self)])

    def identity(self) -> dict[str, Any]:
        """Everything it depends on except the rank, as JSON values."""
        weights = "" if self.weights is None else hashlib.sha256(self.weights.tobytes()).hexdigest()[:16]
        return {
            "n": self.n, "shuffle": self.shuffle, "seed": self.seed, "weights": weights, "window": self.window,
            "chunk": self.chunk, "world_size": self.world_size, "even": self.even,
        }


def sampling_weights(
    sampling: ArrayLike | str | None, labels: NDArray[np.uint8], classes: tuple[str, ...], what: str
) -> NDArray[np.float64] | None:
    """Weights of rows: None, weights that draw each class equally often, or the given ones.

    Parameters
    ----------
    sampling : None, "balanced" or (n,) array
    labels : (n, l) uint8
    classes : tuple of str
        Names of the classes.
    what : str
        The split, for error messages.

    Raises
    ------
    ArgumentError
        If "balanced" is used for a multi-label task or with a class that has no image, or if there is not exactly one
        weight per image, finite, not negative, and not all 0.
    """
    if sampling is None:
        return None
    if isinstance(sampling, str):
        if sampling != "balanced":
            raise ArgumentError("sampling", expected="'balanced' or a weight per image", found=repr(sampling))
        if labels.shape[1] != 1:
            problem = "'balanced' is not available with several labels per image"
            raise ArgumentError("sampling", problem, remedy="give a weight per image")
        counts = np.bincount(labels[:, 0], minlength=len(classes))
        if not counts.all():
            missing = classes[int(np.flatnonzero(counts == 0)[0])]
            raise ArgumentError(f"sampling: {what}", f"cannot be balanced: no image of class {missing}")
        return np.asarray(1.0 / counts[labels[:, 0]])
    weights = np.array(sampling, np.float64)
    if weights.shape != (len(labels),):
        expected, actual = f"shape {(len(labels),)}", f"shape {weights.shape}"
        raise ArgumentError("sampling", "there must be a weight per image", expected=expected, found=actual)
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise ArgumentError("sampling", "weights must be finite, not negative, and not all 0")
    return weights
