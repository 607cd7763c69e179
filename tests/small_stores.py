"""Small stores of random images, for tests of what reads stores."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mmtk import store

MULTILABEL = "multi-label, binary-class"


def small_info(
    flag="breastmnist", *, task="binary-class", classes=2, channels=1, size=8, seed=0, synthetic=False, partial=False
) -> store.StoreInfo:
    """Facts of a store of noise."""
    return store.StoreInfo(
        flag=flag, title=flag, modality="noise", task=task, classes=tuple(map(str, range(classes))), channels=channels,
        size=size, edition="2020", pixels="official", split="official", membership="none", recipe="[]", recipe_hash="",
        licence="none", citation="", source="", plan_hash=str(seed), synthetic=synthetic, partial=partial,
        unchecked=(), mmtk_version="0",
    )


def write_small_store(
    path: Path, counts=(20, 6, 9), *, flag="breastmnist", task="binary-class", classes=2, channels=1, size=8, seed=0,
    synthetic=False, partial=False,
) -> Path:
    """Write a store whose images and labels come from `seed`; every class occurs where there are images enough."""
    rng = np.random.default_rng(seed)
    info = small_info(
        flag, task=task, classes=classes, channels=channels, size=size, seed=seed, synthetic=synthetic, partial=partial
    )
    arrays = {}
    for name, n in zip(store.SPLITS, counts, strict=True):
        images = rng.integers(0, 256, (n, *info.row_shape), np.uint8)
        columns = [rng.permutation(n) % (2 if task == MULTILABEL else classes) for _ in range(info.labels)]
        labels = np.stack(columns, axis=1).astype(np.uint8)
        arrays[name] = (images, labels, np.zeros(n, store.record_dtype(1, 1)))
    path.parent.mkdir(parents=True, exist_ok=True)
    return store.write_store(path, info, arrays)
