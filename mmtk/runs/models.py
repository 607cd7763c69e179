"""Names and titles of the models; `mmtk.training` builds the networks."""

from __future__ import annotations

from dataclasses import dataclass

from mmtk.registry import Registry


@dataclass(frozen=True)
class Model:
    """A model: its name in commands and files, and its title in tables."""

    name: str
    title: str


MODELS: Registry[Model] = Registry("model")
for _model in (Model("resnet18", "ResNet-18"), Model("resnet50", "ResNet-50")):
    MODELS.add(_model, _model.name)
