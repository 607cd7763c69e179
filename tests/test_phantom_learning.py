"""Phantom classes can be learned at 28 px, but not from the mean brightness alone."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

from mmtk.imaging import center_crop, resize
from mmtk.phantom import _breast, _derma, _pneumonia
from mmtk.phantom._drawing import Draw

_DERMA = tuple(_derma._LOOKS)


def picture(flag: str, index: int) -> tuple[np.ndarray, int]:
    """An image of a phantom and its label, drawn without writing a file."""
    draw = Draw(3, f"{flag} {index}")
    if flag == "breastmnist":
        kind = ("malignant", "benign", "malignant", "normal")[index % 4]
        return _breast._draw(draw, kind)[0], int(kind != "malignant")
    if flag == "pneumoniamnist":
        name = ("IM", "bacteria", "IM", "virus")[index % 4]
        return _pneumonia._draw(draw, name, 0), int(name != "IM")
    return _derma._draw(draw, Draw(3, f"lesion {index}"), _DERMA[index % 7]), index % 7


@pytest.mark.parametrize(("flag", "images"), [("breastmnist", 120), ("pneumoniamnist", 120), ("dermamnist", 210)])
def test_a_linear_model_tells_the_classes_apart_and_brightness_does_not(flag: str, images: int) -> None:
    drawn = [picture(flag, index) for index in range(images)]
    small = np.stack([resize(np.ascontiguousarray(center_crop(p)), (28, 28)) for p, _ in drawn])
    labels = np.array([label for _, label in drawn])

    def auc(features: np.ndarray) -> float:
        scores = cross_val_predict(RidgeClassifier(10.0), features, labels, cv=4, method="decision_function")
        return float(roc_auc_score(labels if scores.ndim == 1 else np.eye(7)[labels], scores))

    learned, brightness = auc(small.reshape(images, -1) / 255), auc(small.reshape(images, -1).mean(axis=1)[:, None])
    print(flag, learned, brightness)
    assert learned > 0.85
    assert brightness < learned - 0.02
    assert brightness < 0.95
