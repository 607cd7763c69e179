"""A thin network in place of torchvision's ResNets, for tests of how training goes on and not of what the network is.

A ResNet-18 has eleven million weights, whatever the size of the images: each of its checkpoints takes longer than the
training of a small store. This one has a few thousand behind the stem that `mmtk.training.build_model` gives it.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from mmtk.training import models

_WIDTH = 8
TORCHVISION = models.torchvision_models


class Thin(nn.Module):
    """Two convolutions behind the stem, with layers of every kind that a ResNet has, by the names that it has."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1, self.relu, self.maxpool = nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(nn.Conv2d(64, _WIDTH, 3, 2, 1, bias=False), nn.BatchNorm2d(_WIDTH), nn.ReLU())
        self.layer2 = nn.Sequential(nn.Conv2d(_WIDTH, _WIDTH, 3, 1, 1, bias=False), nn.BatchNorm2d(_WIDTH), nn.ReLU())
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(_WIDTH, num_classes)

    def forward(self, images: Any) -> Any:
        images = self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(images)))))
        return self.fc(self.avgpool(images + self.layer2(images)).flatten(1))


def use_thin_models(patch: pytest.MonkeyPatch | None = None) -> None:
    """Let every model be the thin one, until the patch is undone, or else for good."""
    made = SimpleNamespace(get_model=lambda name, num_classes: Thin(num_classes))
    (patch or pytest.MonkeyPatch()).setattr(models, "torchvision_models", lambda: made)


def thin_plugin(folder: Path, more: str = "") -> Path:
    """A file that makes models thin in a process of its own, given to the command line as ``--plugin``."""
    path = folder / "thin_plugin.py"
    path.write_text(f"from tests.thin import use_thin_models\n\nuse_thin_models()\n{more}")
    return path
