"""Libraries that tests and benchmarks hold mmtk against."""

from __future__ import annotations

from types import ModuleType

import pytest

from mmtk.errors import MmtkError


def torchvision() -> ModuleType:
    """torchvision, or a skipped test."""
    pytest.importorskip("torch")
    from mmtk.training.models import torchvision_models

    try:
        torchvision_models()
    except MmtkError as error:
        pytest.skip(f"torchvision cannot be imported here: {error}")
    import torchvision

    return torchvision
