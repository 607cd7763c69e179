"""``medmnist.info``: the facts of the eighteen datasets, as in medmnist."""

from __future__ import annotations

import ast
import os
import warnings
from importlib import metadata
from os.path import expanduser
from typing import Any

from mmtk.compat.medmnist import __version__ as __version__
from mmtk.datasets import get_dataset
from mmtk.datasets.base import SPLITS
from mmtk.datasets.official import LATEST, RECORDS, SIZES, size_suffix, sized_name

__all__ = ["DEFAULT_ROOT", "HOMEPAGE", "INFO", "expanduser", "get_default_root", "os", "warnings"]

HOMEPAGE = "https://github.com/MedMNIST/MedMNIST/"
_CLASSES = (  # in the order of INFO
    "PathMNIST", "ChestMNIST", "DermaMNIST", "OCTMNIST", "PneumoniaMNIST", "RetinaMNIST", "BreastMNIST", "BloodMNIST",
    "TissueMNIST", "OrganAMNIST", "OrganCMNIST", "OrganSMNIST", "OrganMNIST3D", "NoduleMNIST3D", "AdrenalMNIST3D",
    "FractureMNIST3D", "VesselMNIST3D", "SynapseMNIST3D",
)
# where medmnist differs from the source of the images
_LICENCE, _LICENCES = "CC BY 4.0", {"dermamnist": "CC BY-NC 4.0"}
_LABELS = {"chestmnist": {"12": "pleural"}}


def __dir__() -> list[str]:
    return sorted(__all__)


def get_default_root() -> str | None:
    """The folder ``~/.medmnist``, created if needed; None, with a warning, if it cannot be created."""
    home = expanduser("~")
    if not os.path.isabs(home):  # neither HOME nor an entry for this user, as in containers and services
        warnings.warn("there is no home directory for .medmnist: datasets need a root", stacklevel=2)
        return None
    folder = os.path.join(home, ".medmnist")
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        warnings.warn(f"{folder} cannot be created ({error.strerror}): datasets need a root", stacklevel=2)
        return None
    return folder


DEFAULT_ROOT = get_default_root()


def _descriptions() -> dict[str, str]:
    """The descriptions in the installed medmnist, by flag; its code is read as text, not run."""
    try:
        path = metadata.distribution("medmnist").locate_file("medmnist/info.py")
        with open(str(path), encoding="utf-8") as file:
            tree = ast.parse(file.read())
        tables = [
            ast.literal_eval(node.value) for node in tree.body
            if isinstance(node, ast.Assign) and [getattr(name, "id", "") for name in node.targets] == ["INFO"]
        ]
        texts = {flag: facts["description"] for flag, facts in tables[0].items()}
    except (metadata.PackageNotFoundError, OSError, SyntaxError, ValueError, LookupError, TypeError, AttributeError):
        return {}
    return {flag: text for flag, text in texts.items() if isinstance(text, str)}


def _facts(name: str, descriptions: dict[str, str]) -> dict[str, Any]:
    dataset, files = get_dataset(name.lower()), {}
    for size in SIZES:
        if f"{LATEST}:{size}" in dataset.md5:
            files[f"url{size_suffix(size)}"] = f"{RECORDS[LATEST]}/{sized_name(dataset.flag, size)}.npz?download=1"
            files[f"MD5{size_suffix(size)}"] = dataset.md5[f"{LATEST}:{size}"]
    counts = dataset.counts[LATEST]
    own = f"{dataset.title}: {dataset.modality}, from {dataset.source.citation}."
    labels = {str(number): label for number, label in enumerate(dataset.classes)}
    return {
        "python_class": name,
        "description": descriptions.get(dataset.flag, own),
        **files,
        "task": dataset.task.value,
        "label": labels | _LABELS.get(dataset.flag, {}),
        "n_channels": dataset.channels,
        "n_samples": {split: getattr(counts, split) for split in SPLITS},
        "license": _LICENCES.get(dataset.flag, _LICENCE),
    }


def _table() -> dict[str, dict[str, Any]]:
    descriptions = _descriptions()
    return {name.lower(): _facts(name, descriptions) for name in _CLASSES}


INFO = _table()
