"""The models that runs are of, by their names; `mmtk.training` makes networks of them."""

from __future__ import annotations

from dataclasses import dataclass

from mmtk.registry import Registry


@dataclass(frozen=True)
class Model:
    """A network: its name in commands and files, and its title in tables."""

    name: str
    title: str


MODELS: Registry[Model] = Registry("model")
for _model in (Model("resnet18", "ResNet-18"), Model("resnet50", "ResNet-50")):
    MODELS.add(_model, _model.name)
