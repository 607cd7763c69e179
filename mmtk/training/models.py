"""ResNet-18 and ResNet-50 (He et al. 2016) in plain torch, for small images and for large ones.

Up to 64 px the stem is a 3x3 convolution of stride 1 without max-pooling, the form used for CIFAR; above, it is
torchvision's, 7x7 of stride 2 and a max-pooling. Parameter names are torchvision's, whose state dicts load here but for
the small stem and the last layer. Weights start from PyTorch's defaults for ``Conv2d`` and ``Linear``, as in the script
behind Table 2 at 28 px; torchvision draws convolutions otherwise.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from mmtk.runs import MODELS


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> Any:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


def _shortcut(inputs: int, outputs: int, stride: int) -> Any:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(_conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):  # type: ignore[misc]
    """Two 3x3 convolutions and a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inputs, width, stride)

    def forward(self, x: Any) -> Any:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):  # type: ignore[misc]
    """1x1, 3x3 (which strides) and 1x1 convolution and a shortcut."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = _conv(inputs, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _conv(width, outputs, 1)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inputs, outputs, stride)

    def forward(self, x: Any) -> Any:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):  # type: ignore[misc]
    """Stem, four stages of 64, 128, 256 and 512 channels (times the block's expansion), mean over the image, linear."""

    def __init__(
        self, block: type[BasicBlock | Bottleneck], depths: tuple[int, int, int, int], channels: int, outputs: int,
        large: bool = False,
    ) -> None:
        super().__init__()
        self.conv1 = _conv(channels, 64, 7, 2) if large else _conv(channels, 64, 3)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1) if large else nn.Identity()
        inputs = 64
        for stage, (width, depth) in enumerate(zip((64, 128, 256, 512), depths, strict=True), start=1):
            blocks = []
            for position in range(depth):
                blocks.append(block(inputs, width, stride=2 if stage > 1 and position == 0 else 1))
                inputs = width * block.expansion
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs, outputs)

    def forward(self, x: Any) -> Any:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


_SHAPES: dict[str, tuple[type[BasicBlock | Bottleneck], tuple[int, int, int, int]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
}


def build_model(name: str, channels: int, outputs: int, resolution: int = 28) -> ResNet:
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

    Raises
    ------
    ArgumentError
        If the name is unknown.
    """
    return ResNet(*_SHAPES[MODELS.get(name).name], channels, outputs, large=resolution > 64)
