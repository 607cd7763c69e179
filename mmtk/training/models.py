"""ResNet-18 and ResNet-50 (He et al. 2016), torchvision's, for small images and for large ones.

Up to 64 px the stem is a 3x3 convolution of stride 1 without max-pooling, the form used for CIFAR; above, it is
torchvision's, 7x7 of stride 2 and a max-pooling. For volumes, convolutions, poolings and normalisations have three
dimensions, with cubic kernels of the same edges. Weights start from PyTorch's defaults for convolutions and ``Linear``,
as in the script behind Table 2 at 28 px; torchvision draws convolutions otherwise.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import nn

from mmtk.errors import MmtkError
from mmtk.runs import MODELS

_declared: list[Any] = []  # torch forgets an operator when the library that declared it is gone


def torchvision_models() -> Any:
    """torchvision's models, also beside a CPU build of torch, for which its wheel on PyPI has no operators.

    Its import asks for two of them, which no ResNet uses; declared here, they let it go on.
    """
    try:
        import torchvision
    except ModuleNotFoundError:
        raise MmtkError.not_installed("training", "torchvision", "train") from None
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _declared.append(library)
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        import torchvision
    return torchvision.models


def build_model(name: str, channels: int, outputs: int, resolution: int = 28, ndim: int = 2) -> Any:
    """Make a model with fresh weights from torch's global generator.

    Parameters
    ----------
    name : str
        ``resnet18`` or ``resnet50``.
    channels : int
        Channels of the input, 1 or 3.
    outputs : int
        Columns of the output, which are logits ``(batch, outputs)``.
    resolution : int
        Edge of the images, which decides the stem.
    ndim : {2, 3}
        3 for volumes: the input is then ``(batch, channels, d, h, w)``.

    Returns
    -------
    torchvision.models.ResNet

    Raises
    ------
    ArgumentError
        If the name is unknown.
    MmtkError
        If torchvision is not installed.
    """
    known, models = MODELS.get(name).name, torchvision_models()
    with torch.device("meta"):  # where torchvision's own initial weights draw no number from the generator
        model = models.get_model(known, num_classes=outputs)
        if resolution > 64:
            model.conv1 = nn.Conv2d(channels, 64, 7, 2, padding=3, bias=False)
        else:
            model.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
            model.maxpool = nn.Identity()
        if ndim == 3:
            _deepen(model)
    model.to_empty(device="cpu")
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    return model


def _deepen(module: Any) -> None:
    """Replace every layer that goes by two dimensions by one that goes by three."""
    for name, layer in module.named_children():
        if isinstance(layer, nn.Conv2d):
            shape = (_edge(layer.kernel_size), _edge(layer.stride), _edge(layer.padding))
            deep = nn.Conv3d(layer.in_channels, layer.out_channels, *shape, bias=layer.bias is not None)
        elif isinstance(layer, nn.BatchNorm2d):
            deep = nn.BatchNorm3d(layer.num_features)
        elif isinstance(layer, nn.MaxPool2d):
            deep = nn.MaxPool3d(_edge(layer.kernel_size), _edge(layer.stride), _edge(layer.padding))
        elif isinstance(layer, nn.AdaptiveAvgPool2d):
            deep = nn.AdaptiveAvgPool3d(1)
        else:
            _deepen(layer)
            continue
        setattr(module, name, deep)


def _edge(value: Any) -> int:
    """The edge of a square, which torch tells as one number or as two."""
    return int(value if isinstance(value, int) else value[0])
