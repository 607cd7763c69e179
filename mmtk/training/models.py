"""torchvision's ResNet-18 and ResNet-50 (He et al. 2016), for small and large images.

Up to 64 px the stem is a 3x3 convolution with stride 1 without max-pooling, as used for CIFAR; above, it is
torchvision's, 7x7 with stride 2 and max-pooling. For volumes, convolutions, pooling and normalisation are
three-dimensional, with cubic kernels of the same edge length. Initial weights follow PyTorch's defaults for
convolutions and ``Linear``, as in the script behind Table 2 at 28 px; torchvision initialises convolutions differently.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import nn

from mmtk.errors import MmtkError
from mmtk.runs import MODELS

_declared: list[Any] = []  # keeps libraries alive: torch removes an operator with the library that declared it


def torchvision_models() -> Any:
    """Import torchvision's models, also with a CPU build of torch, for which its PyPI wheel has no operators.

    The import requires two operators that no ResNet uses; declaring them here lets it succeed.
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
    """Build a model with initial weights drawn from torch's global generator.

    Parameters
    ----------
    name : {"resnet18", "resnet50"}
    channels : {1, 3}
        Channels of the input.
    outputs : int
        Number of outputs; the model returns float32 logits (batch, outputs).
    resolution : int
        Edge length of the images in pixels, which decides the stem.
    ndim : {2, 3}
        3 for volumes: the input is then (batch, channels, d, h, w) instead of (batch, channels, h, w).

    Returns
    -------
    torchvision.models.ResNet

    Raises
    ------
    ArgumentError
        If the name is unknown.
    MmtkError
        If torchvision is not installed.

    Examples
    --------
    >>> import torch
    >>> from mmtk.training import build_model
    >>> model = build_model("resnet18", channels=1, outputs=2)
    >>> model(torch.zeros(4, 1, 28, 28)).shape
    torch.Size([4, 2])
    """
    known, models = MODELS.get(name).name, torchvision_models()
    with torch.device("meta"):  # so that torchvision's initialisation draws nothing from the generator
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
    """Replace every two-dimensional layer by its three-dimensional counterpart."""
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
    """The edge length of a square, which torch stores as one number or two."""
    return int(value if isinstance(value, int) else value[0])
