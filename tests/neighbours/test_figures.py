"""Figures that other libraries compute of the same predictions."""

from __future__ import annotations

import numpy as np
import pytest

import mmtk
from mmtk.loader import Batches


def test_torchmetrics_gives_the_same_auc_and_acc(small, coloured):
    torchmetrics = pytest.importorskip("torchmetrics", reason="torchmetrics is not installed")
    import torch

    for opened, task in ((small, "binary-class"), (coloured, "multi-class")):
        classes = len(opened.info.classes)
        auc = torchmetrics.AUROC(task="multiclass", num_classes=classes)
        acc = torchmetrics.Accuracy(task="multiclass", num_classes=classes, average="micro")
        every = []
        for images, labels in Batches(opened.train, 7):
            pixels = images.double().flatten(1)
            scores = torch.stack([pixels[:, k::classes].mean(1) for k in range(classes)], 1).softmax(1)
            auc.update(scores, labels)
            acc.update(scores, labels)
            every.append(scores.numpy())
        told = mmtk.evaluate(opened.train.labels, np.concatenate(every), task)
        assert float(auc.compute()) == pytest.approx(told.auc, abs=1e-6)
        assert float(acc.compute()) == pytest.approx(told.acc, abs=1e-6)
