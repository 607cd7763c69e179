"""Images as feature rows for estimators: flattened pixels or their principal components."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmtk.loader import permutation
from mmtk.store import Split, Store

COMPONENTS = 64
_EDGE = 28  # pixels: larger images are averaged down to about this
_BASIS = 4096  # images that components are fitted to, at most
_NUMBERS = 2**26  # pixels that are cached, or that components are fitted to, at once: 256 MiB as float32
_BYTES = 2**25  # of stored images read at a time


class Features:
    """Feature rows of a store's images; results are cached if they are small.

    Parameters
    ----------
    store : Store
    seed : int
        Decides which images principal components are fitted to, and seeds the algorithm.
    """

    def __init__(self, store: Store, seed: int) -> None:
        self.store, self.seed = store, seed
        self._reduce: Any = None
        self._scale = np.float32(1)
        self._components: dict[str, NDArray[np.float32]] = {}
        self._known: dict[str, NDArray[np.bool_]] = {}
        self._pixels: NDArray[np.float32] | None = None

    def of(self, split: Split, rows: NDArray[np.int64], components: int | None) -> NDArray[np.float32]:
        """Return the features of some images of a split.

        Parameters
        ----------
        split : Split
        rows : (n,) int
        components : int or None
            Number of principal components, at most `COMPONENTS`, with a mean variance of 1 over the training images;
            None for pixels from 0 to 1.

        Returns
        -------
        (n, features) float32
        """
        if components is not None:
            return self._reduced(split, rows)[:, :components]
        if split.name != "train" or len(split) * width_of(split) > _NUMBERS:
            return pixels_of(split, rows)
        if self._pixels is None:
            self._pixels = pixels_of(split, np.arange(len(split)))
        every = len(rows) == len(split) and bool((rows == np.arange(len(rows))).all())
        return self._pixels if every else self._pixels[rows]

    def _reduced(self, split: Split, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        if self._reduce is None:
            self._fit_components()
        if split.name not in self._components:
            self._components[split.name] = np.empty((len(split), self._reduce[-1].n_components_), np.float32)
            self._known[split.name] = np.zeros(len(split), bool)
        components, known = self._components[split.name], self._known[split.name]
        missing = rows[~known[rows]]
        step = _block(split)
        for start in range(0, len(missing), step):
            block = missing[start : start + step]
            components[block] = self._scale * self._reduce.transform(pixels_of(split, block))
            known[block] = True
        return components[rows]

    def _fit_components(self) -> None:
        from sklearn.decomposition import PCA
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        train = self.store.train
        most = max(min(_BASIS, _NUMBERS // width_of(train)), 2)
        basis = pixels_of(train, np.sort(permutation(len(train), self.seed, 0)[:most]))
        pca = PCA(min(COMPONENTS, *basis.shape), svd_solver="randomized", random_state=self.seed)
        self._reduce = make_pipeline(StandardScaler(copy=False), pca).fit(basis)
        variance = pca.explained_variance_.mean()
        self._scale = np.float32(1 / np.sqrt(variance)) if variance > 0 else np.float32(1)


def pixels_of(split: Split, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return images as rows of numbers from 0 to 1, averaged down to about 28 px, without a second copy of them all."""
    pixels = np.empty((len(rows), width_of(split)), np.float32)
    step = _block(split)
    for start in range(0, len(rows), step):
        part = _averaged(np.asarray(split.images[rows[start : start + step]]), split.info.ndim)
        np.divide(part.reshape(len(part), -1), np.float32(255), out=pixels[start : start + step])
    return pixels


def width_of(split: Split) -> int:
    """Return the length of a row of `pixels_of`."""
    shape = split.images.shape[1:]
    edges = [edge // max(edge // _EDGE, 1) for edge in shape[: split.info.ndim]]
    return int(np.prod([*edges, *shape[split.info.ndim :]]))


def _block(split: Split) -> int:
    return max(min(4096, _BYTES // int(np.prod(split.images.shape[1:]))), 1)


def _averaged(images: NDArray[np.uint8], ndim: int) -> NDArray[Any]:
    """Means over blocks of edge ``size // _EDGE``; remaining pixels at the far edges are cut off."""
    averaged: NDArray[Any] = images
    for axis in range(1, 1 + ndim):
        edge = averaged.shape[axis]
        if (side := edge // _EDGE) > 1:
            whole = averaged[(slice(None),) * axis + (slice(edge // side * side),)]
            blocks = whole.reshape(*whole.shape[:axis], edge // side, side, *whole.shape[axis + 1 :])
            averaged = blocks.mean(axis=axis + 1, dtype=np.float32)
    return averaged
