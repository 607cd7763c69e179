"""Facts of this machine: its cores, the kernels in use, its GPU, the versions of packages."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import asdict, dataclass
from typing import Any

from mmtk import __version__
from mmtk.base import versions
from mmtk.imaging import kernels_in_use

PACKAGES = (
    "numpy", "h5py", "numba", "opencv-python", "opencv-python-headless", "deflate", "simplejpeg", "SimpleITK",
    "scikit-learn", "click", "rich", "requests", "torch", "torchvision", "tensorboard", "matplotlib", "jinja2",
    "hdf5plugin", "distributed", "flaml", "autokeras", "keras", "ai-edge-litert",
)


@dataclass(frozen=True)
class Machine:
    """Facts of this machine.

    Attributes
    ----------
    mmtk, python, platform : str
        Versions, and the operating system with its processor.
    cores : int
        Cores that this process may use.
    kernels : str
        Which of the equivalent kernels are in use.
    device : str
        The device networks are trained on; without PyTorch, how to install it.
    packages : dict of str to str
        Versions of the installed packages, by name.
    """

    mmtk: str
    python: str
    platform: str
    cores: int
    kernels: str
    device: str
    packages: dict[str, str]

    def facts(self) -> dict[str, Any]:
        """All facts as JSON values, for ``mmtk doctor --json``."""
        return asdict(self)


def examine() -> Machine:
    """Collect the facts of this machine.

    Examples
    --------
    >>> from mmtk.machine import examine
    >>> examine().kernels in ("neon", "vnni", "avx2", "plain", "numba")
    True
    """
    return Machine(
        __version__, platform.python_version(), f"{sys.platform} {platform.machine()}", cores(), kernels_in_use(),
        _torch_device(), versions(PACKAGES),
    )


def cores() -> int:
    """Number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _torch_device() -> str:
    try:
        import torch
    except ImportError:
        return "torch is not installed, which training needs; pip install 'mmtk[train]'"
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
