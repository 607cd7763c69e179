"""The interface of the package ``medmnist`` (3.0.2) on files and stores, and a way to run programs written for it.

A script runs unchanged under ``python -m mmtk.compat.medmnist SCRIPT [ARGUMENT...]``, or ``-m MODULE [ARGUMENT...]``:
there, and in processes started by the script, ``import medmnist`` means this package. In a notebook, call `install`
first. Or change ``import medmnist`` to ``import mmtk.compat.medmnist as medmnist``.

Files: ``{flag}{_size}.npz`` in the root is read by NumPy, whatever it holds; for an official file that is not small, a
store is kept in the user's cache folder and memory-mapped. If there is no ``.npz``, a store ``{flag}_{size}.h5`` in
the root is used; a compressed store is decompressed into memory unless `mmap_mode` is given. Nothing is written into
the root except by ``download=True``, which provides the official ``.npz``: exported from a complete official store in
the root, or downloaded.

Scripts see no difference from medmnist, with these exceptions. Modules and classes are named
``mmtk.compat.medmnist``, so that pickles work anywhere. ``len()`` accepts any number of images, and lists are accepted
as labels and scores. Error messages have other words. The ``description`` of a dataset is that of the installed
medmnist, read from its files without importing it, else our own. A slice of images, which medmnist refuses, is a
``torch.utils.data.Subset``; a slice of volumes gives their arrays, as in medmnist. Datasets also have ``targets`` and
``classes``, and unchanged arrays are pickled as a reference to their store.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmtk.compat.medmnist import dataset, evaluator, info
    from mmtk.compat.medmnist import utils as utils
    from mmtk.compat.medmnist._running import install as install
    from mmtk.compat.medmnist.dataset import (
        OCTMNIST,
        AdrenalMNIST3D,
        BloodMNIST,
        BreastMNIST,
        ChestMNIST,
        DermaMNIST,
        FractureMNIST3D,
        NoduleMNIST3D,
        OrganAMNIST,
        OrganCMNIST,
        OrganMNIST3D,
        OrganSMNIST,
        PathMNIST,
        PneumoniaMNIST,
        RetinaMNIST,
        SynapseMNIST3D,
        TissueMNIST,
        VesselMNIST3D,
    )
    from mmtk.compat.medmnist.evaluator import Evaluator
    from mmtk.compat.medmnist.info import HOMEPAGE, INFO

__version__ = "3.0.2"  # of medmnist, whose interface this is

# the names imported by ``from medmnist import *``
__all__ = [
    "HOMEPAGE",
    "INFO",
    "OCTMNIST",
    "AdrenalMNIST3D",
    "BloodMNIST",
    "BreastMNIST",
    "ChestMNIST",
    "DermaMNIST",
    "Evaluator",
    "FractureMNIST3D",
    "NoduleMNIST3D",
    "OrganAMNIST",
    "OrganCMNIST",
    "OrganMNIST3D",
    "OrganSMNIST",
    "PathMNIST",
    "PneumoniaMNIST",
    "RetinaMNIST",
    "SynapseMNIST3D",
    "TissueMNIST",
    "VesselMNIST3D",
    "dataset",
    "evaluator",
    "info",
]
_MODULES = ("info", "dataset", "evaluator", "utils")


def __getattr__(name: str) -> Any:
    """A public name of this package or of its modules, which are imported on first use."""
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name == "install":
        return import_module(f"{__name__}._running").install
    if not name.startswith("_"):
        for module in _MODULES:
            there = import_module(f"{__name__}.{module}")
            if name in there.__all__:
                return getattr(there, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_MODULES, "__version__", "install"})
