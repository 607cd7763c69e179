"""The paper's Table 2 as data: test AUC and ACC of each dataset by each of its seven methods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmtk.datasets import TEN
from mmtk.runs.models import MODELS
from mmtk.runs.results import RunResult
from mmtk.store import StoreInfo

_PROTOCOL, _EPOCHS = "isbi21", 100  # how its networks were trained
# rows of other tools, by the method that corresponds to them here
_COUNTERPARTS = (
    ("sklearn", "auto-sklearn"), ("autosklearn", "auto-sklearn"), ("autokeras", "AutoKeras"),
    ("tflite", "Google AutoML Vision"),
)


def _row(auc: tuple[float, ...], acc: tuple[float, ...]) -> dict[str, tuple[float, float]]:
    return dict(zip(TEN, zip(auc, acc, strict=True), strict=True))


TABLE_2: dict[str, dict[str, tuple[float, float]]] = {
    "ResNet-18 (28)": _row(
        auc=(0.972, 0.706, 0.899, 0.951, 0.957, 0.727, 0.897, 0.995, 0.990, 0.967),
        acc=(0.844, 0.947, 0.721, 0.758, 0.843, 0.515, 0.859, 0.921, 0.889, 0.762),
    ),
    "ResNet-18 (224)": _row(
        auc=(0.978, 0.713, 0.896, 0.960, 0.970, 0.721, 0.915, 0.997, 0.991, 0.974),
        acc=(0.860, 0.948, 0.727, 0.752, 0.861, 0.543, 0.878, 0.931, 0.907, 0.777),
    ),
    "ResNet-50 (28)": _row(
        auc=(0.979, 0.692, 0.886, 0.939, 0.949, 0.719, 0.879, 0.995, 0.990, 0.968),
        acc=(0.864, 0.947, 0.710, 0.745, 0.857, 0.490, 0.853, 0.916, 0.893, 0.746),
    ),
    "ResNet-50 (224)": _row(
        auc=(0.978, 0.706, 0.895, 0.951, 0.968, 0.717, 0.863, 0.997, 0.992, 0.970),
        acc=(0.848, 0.947, 0.719, 0.750, 0.896, 0.555, 0.833, 0.931, 0.898, 0.770),
    ),
    "auto-sklearn": _row(
        auc=(0.500, 0.647, 0.906, 0.883, 0.947, 0.694, 0.848, 0.797, 0.898, 0.855),
        acc=(0.186, 0.642, 0.734, 0.595, 0.865, 0.525, 0.808, 0.563, 0.676, 0.601),
    ),
    "AutoKeras": _row(
        auc=(0.979, 0.715, 0.921, 0.956, 0.970, 0.655, 0.833, 0.996, 0.992, 0.972),
        acc=(0.864, 0.939, 0.756, 0.736, 0.918, 0.420, 0.801, 0.929, 0.915, 0.803),
    ),
    "Google AutoML Vision": _row(
        auc=(0.982, 0.718, 0.925, 0.965, 0.993, 0.762, 0.932, 0.988, 0.986, 0.964),
        acc=(0.811, 0.947, 0.766, 0.732, 0.941, 0.530, 0.865, 0.818, 0.861, 0.706),
    ),
}


def published(info: StoreInfo, facts: Mapping[str, Any], result: RunResult) -> tuple[float, float] | None:
    """Return the paper's test AUC and ACC if a run is comparable to them: same data, protocol and epochs.

    Parameters
    ----------
    info : StoreInfo
        Facts of the store.
    facts : mapping
        Of the run's method: ``model``, ``protocol`` and, if it differs from the images' size, ``resolution``.
    result : RunResult

    Returns
    -------
    (float, float) or None
        None if the run is not comparable.

    Examples
    --------
    >>> import mmtk
    >>> from mmtk.runs import published, read_result
    >>> info, result = mmtk.open("stores/breastmnist_28.h5").info, read_result("runs/resnet18_28_seed0")
    >>> info.synthetic, published(info, {"model": "resnet18", "protocol": "isbi21"}, result)
    (True, None)
    """
    same = facts.get("protocol") == _PROTOCOL and result.epochs == _EPOCHS and info.size == 28
    if not same or info.synthetic or info.partial or info.unpublished:
        return None
    row = f"{MODELS.get(facts['model']).title} ({facts.get('resolution', info.size)})"
    return TABLE_2.get(row, {}).get(info.flag)


def counterpart(info: StoreInfo, facts: Mapping[str, Any]) -> tuple[str, tuple[float, float]] | None:
    """Return the row of Table 2 that corresponds to a method without epochs, and the row's test AUC and ACC.

    The paper's methods had hours and possibly other test images, so the row is for orientation, not for comparison.

    Parameters
    ----------
    info : StoreInfo
        Facts of the store.
    facts : mapping
        Of the run's method: its name as ``method``.

    Returns
    -------
    (str, (float, float)) or None
    """
    if info.synthetic or info.partial or info.size != 28:
        return None
    name = str(facts.get("method", "")).partition("-")[0]
    row = dict(_COUNTERPARTS).get(name, "")
    figures = TABLE_2.get(row, {}).get(info.flag)
    return (row, figures) if figures else None
