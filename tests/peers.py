"""Libraries that tests and benchmarks hold mmtk against."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

_DECLARED: list[Any] = []  # torch forgets an operator when the library that declared it is gone


def torchvision() -> ModuleType:
    """torchvision, also beside a CPU build of torch, for which its wheel has no operators.

    Its import asks for two of them, which no transform and no ResNet uses; declared here, they let it go on.
    """
    torch = pytest.importorskip("torch")
    try:
        import torchvision
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _DECLARED.append(library)
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        import torchvision
    except ImportError as error:
        pytest.skip(f"torchvision cannot be imported here: {error}")
    return torchvision
