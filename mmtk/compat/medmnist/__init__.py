"""The interface of the package ``medmnist`` (3.0.2), and a way to run what was written for it, on files and on stores.

A script stays as it is under ``python -m mmtk.compat.medmnist SCRIPT [ARGUMENT...]``, or ``-m MODULE [ARGUMENT...]``:
``import medmnist`` means this package there, in the processes that the script starts too. A notebook calls `install`
first. Or change ``import medmnist`` to ``import mmtk.compat.medmnist as medmnist``.

Files. ``{flag}{_size}.npz`` in the root is read as NumPy reads it, whatever it holds; of an official one that is not
small the store is kept in this user's cache folder and mapped from there. Where there is no ``.npz``, a store
``{flag}_{size}.h5`` that lies in the root is used, a compressed one is unpacked into memory unless `mmap_mode` is
given. Nothing is written into the root but by ``download=True``, after which the official ``.npz`` is there: out of a
whole official store that lies there, or fetched.

Scripts cannot tell it from medmnist, with these exceptions. Modules and classes call themselves
``mmtk.compat.medmnist``, so that a pickle finds them anywhere. ``len()`` takes any number of images for right, and
lists do as labels and scores. What is wrong with a command or a file is told in other words. The
``description`` of a dataset is the installed medmnist's, read from its files without importing it, else one of our own.
A slice of images, which medmnist refuses, is a ``torch.utils.data.Subset``; one of volumes is their arrays, as there.
Datasets have ``targets`` and ``classes`` besides, and arrays that nobody changed pickle as the place of their store.
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

# what ``from medmnist import *`` gives
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
    """A public name of this package or one of its modules, which are imported when they are first asked for."""
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
