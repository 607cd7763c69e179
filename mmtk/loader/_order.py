"""The order of an epoch: a function of seed and epoch alone, the same on every device, machine and version of NumPy."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

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
    return _ranked(_words(n, seed, epoch))


def windowed(n: int, seed: int, epoch: int, chunk: int, window: int) -> NDArray[np.int64]:
    """An order that reads a store nearly in sequence: chunks are permuted, and rows only within `window` chunks.

    What it costs: a batch comes from one window (or two), so its rows are no independent draws from the split. Let rho
    be the correlation of two rows of one chunk in whatever is averaged over a batch (the share of the variance that
    lies between chunks; 1 where a store is sorted by class, 0 where its rows are already mixed). Then the variance of
    the mean over a batch of b is larger than under a full shuffle by about ``1 + (b - 1) rho / window``: with as many
    chunks in a window as images in a batch it at most doubles, in the worst of stores.

    Parameters
    ----------
    n : int
        Number of images.
    seed, epoch : int
        As in `permutation`.
    chunk : int
        Rows in a chunk.
    window : int
        Chunks that are shuffled together, from 1.

    Returns
    -------
    (n,) int64
    """
    chunks = -(-n // chunk)
    words = _words(chunks + n, seed, epoch)
    place = np.empty(chunks, np.int64)
    place[_ranked(words[:chunks])] = np.arange(chunks)
    return np.lexsort((words[chunks:], np.repeat(place // window, chunk)[:n]))


def drawn(weights: NDArray[np.float64], seed: int, epoch: int) -> NDArray[np.int64]:
    """As many rows as there are weights, drawn with replacement, each with a chance in proportion to its weight."""
    ends = np.cumsum(weights)
    uniform = (_words(len(weights), seed, epoch) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    last = np.flatnonzero(weights)[-1]  # a product may be rounded up to the end
    rows: NDArray[np.int64] = np.minimum(np.searchsorted(ends, uniform * ends[-1], side="right"), last)
    return rows


def _words(count: int, seed: int, epoch: int) -> NDArray[np.uint64]:
    # raw words and sorts, since NumPy keeps Philox's words between versions but not what Generator makes of them
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
    """Which rows of `n` an epoch takes, in which order, and what of it falls to one of several processes.

    Attributes
    ----------
    n : int
        Number of images.
    shuffle : bool
    seed : int
    weights : (n,) float64, optional
        Chances of the rows; they are then drawn with replacement.
    window, chunk : int
        With a window from 1, the order is `windowed`.
    rank, world_size : int
        This process takes every `world_size`-th row from the `rank`-th on, so that the batches of all make up the
        batches of one with a batch `world_size` times as large.
    even : {"", "pad", "drop"}
        How each process gets as many rows as the others: the first ones come twice, or the last ones are left out.
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
        """Rows of this process."""
        if self.even == "drop":
            return self.n // self.world_size
        return -(-(self.n - (0 if self.even == "pad" else self.rank)) // self.world_size)

    @property
    def stored(self) -> bool:
        """Whether it is all rows as they are stored."""
        return not self.shuffle and self.weights is None and self.world_size == 1

    def rows(self, epoch: int) -> NDArray[np.int64]:
        """This process's rows in an epoch."""
        if self.weights is not None:
            order = drawn(self.weights, self.seed, epoch)
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
        """What it depends on besides the rank, as JSON holds it."""
        weights = "" if self.weights is None else hashlib.sha256(self.weights.tobytes()).hexdigest()[:16]
        return {
            "n": self.n, "shuffle": self.shuffle, "seed": self.seed, "weights": weights, "window": self.window,
            "chunk": self.chunk, "world_size": self.world_size, "even": self.even,
        }


def sampling_weights(
    sampling: ArrayLike | str | None, labels: NDArray[np.uint8], classes: tuple[str, ...], what: str
) -> NDArray[np.float64] | None:
    """Chances of rows: none given, those that draw each class equally often, or as they are given.

    Parameters
    ----------
    sampling : None, "balanced" or (n,) array
    labels : (n, l) uint8
    classes : tuple of str
        Names of the classes.
    what : str
        The split, for errors.

    Raises
    ------
    ArgumentError
        If balance is asked for where an image has several labels or a class has no image, or if weights are not one
        for each image, finite, from 0, and not all 0.
    """
    if sampling is None:
        return None
    if isinstance(sampling, str):
        if sampling != "balanced":
            raise ArgumentError("sampling", expected="'balanced' or a weight for each image", found=repr(sampling))
        if labels.shape[1] != 1:
            remedy = "give a weight for each image"
            raise ArgumentError("sampling", expected="one class an image", found="several labels", remedy=remedy)
        counts = np.bincount(labels[:, 0], minlength=len(classes))
        if not counts.all():
            missing = classes[int(np.flatnonzero(counts == 0)[0])]
            raise ArgumentError(f"sampling: {what}", expected="images of every class", found=f"none of {missing}")
        return np.asarray(1.0 / counts[labels[:, 0]])
    weights = np.array(sampling, np.float64)
    if weights.shape != (len(labels),):
        found = f"an array of shape {weights.shape}"
        raise ArgumentError("sampling", expected=f"a weight for each of {len(labels)} images", found=found)
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise ArgumentError("sampling", expected="finite weights from 0, not all 0", found="others")
    return weights
