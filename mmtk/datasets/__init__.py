"""MedMNIST's datasets: their facts, sources and splits. There is one module per family, discovered automatically.

The ten of the paper are built from raw images; of the eight added in 2021 only the official files are available. Other
datasets can be registered, or provided by plugins: packages with entry points in the group ``mmtk.datasets``.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from mmtk import plugins
from mmtk.datasets.base import Dataset
from mmtk.errors import ArgumentError
from mmtk.registry import Registry

__all__ = [
    "EIGHT", "EIGHTEEN", "TEN", "edition_flag", "family_of", "find_dataset", "get_dataset", "list_datasets", "register",
]

# in the order of the paper's Table 1, then those added by MedMNIST v2; other datasets follow
TEN = (
    "pathmnist", "chestmnist", "dermamnist", "octmnist", "pneumoniamnist", "retinamnist", "breastmnist",
    "organamnist", "organcmnist", "organsmnist",
)
EIGHT = (
    "bloodmnist", "tissuemnist", "organmnist3d", "nodulemnist3d", "adrenalmnist3d", "fracturemnist3d", "vesselmnist3d",
    "synapsemnist3d",
)
EIGHTEEN = (*TEN, *EIGHT)  # all published by MedMNIST


def _load_families() -> None:
    """Import every module of this package, so that it registers its datasets."""
    for module in iter_modules(__path__):
        if not module.ispkg:
            import_module(f"{__name__}.{module.name}")


def _load_plugins() -> None:
    plugins.load("mmtk.datasets", lambda value: isinstance(value, Dataset) and register(value) is value)


_DATASETS: Registry[Dataset] = Registry("dataset", EIGHTEEN, _load_families, _load_plugins)


def register(dataset: Dataset) -> Dataset:
    """Register a dataset under its flag and its aliases.

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    Dataset
        The same object.

    Raises
    ------
    ArgumentError
        If it is not a dataset, or its flag or one of its aliases is taken.

    Examples
    --------
    >>> from dataclasses import replace
    >>> import mmtk
    >>> breast = mmtk.get_dataset("breastmnist")
    >>> mmtk.register(breast) is breast  # registering the same dataset again changes nothing
    True
    >>> mmtk.register(replace(breast, title="Another"))
    Traceback (most recent call last):
    mmtk.errors.ArgumentError: dataset breastmnist: the name breastmnist is already taken
    """
    if not isinstance(dataset, Dataset):
        raise ArgumentError("dataset", found=type(dataset).__name__, expected="mmtk.datasets.base.Dataset")
    return _DATASETS.add(dataset, dataset.flag, *dataset.aliases)


def list_datasets() -> tuple[Dataset, ...]:
    """List all registered datasets: the ten in the order of the paper's Table 1, the eight of 2021, then others.

    Returns
    -------
    tuple of Dataset

    Examples
    --------
    >>> import mmtk
    >>> [dataset.flag for dataset in mmtk.list_datasets()][:3]
    ['pathmnist', 'chestmnist', 'dermamnist']
    """
    return tuple(_DATASETS)


def get_dataset(name: str, others: str = "") -> Dataset:
    """Look up a dataset by its flag or an alias; upper and lower case are the same.

    Parameters
    ----------
    name : str
        For example ``breastmnist``, or ``organmnist_axial`` as in 2020.
    others : str
        What else could have been given, for the error message.

    Returns
    -------
    Dataset

    Raises
    ------
    UnknownNameError
        If no dataset has this name; similar names are suggested.

    Examples
    --------
    >>> import mmtk
    >>> dataset = mmtk.get_dataset("BreastMNIST")
    >>> dataset.flag, dataset.modality, str(dataset.counts["2024"])
    ('breastmnist', 'breast ultrasound', 'train 546, val 78, test 156')
    """
    return _DATASETS.get(name.lower(), others)


def find_dataset(flag: str) -> Dataset | None:
    """Look up a dataset by its flag or an alias; None if it is unknown, as for a store of somebody else's dataset.

    Parameters
    ----------
    flag : str

    Returns
    -------
    Dataset or None

    Examples
    --------
    >>> from mmtk.datasets import find_dataset
    >>> find_dataset("organmnist_axial").flag
    'organamnist'
    >>> find_dataset("mymnist") is None
    True
    """
    return _DATASETS.get(flag) if flag in _DATASETS else None


def family_of(flag: str) -> str:
    """The family of a dataset; an unknown dataset is its own family.

    Examples
    --------
    >>> from mmtk.datasets import family_of
    >>> family_of("organcmnist"), family_of("mymnist")
    ('organmnist', 'mymnist')
    """
    known = find_dataset(flag)
    return known.family if known else flag


def edition_flag(flag: str, edition: str) -> str:
    """The flag used in a dataset's file names in an edition: the Organ datasets had others in 2020.

    Examples
    --------
    >>> from mmtk.datasets import edition_flag
    >>> edition_flag("organamnist", "2020"), edition_flag("organamnist", "2024")
    ('organmnist_axial', 'organamnist')
    """
    known = find_dataset(flag)
    return known.alias_of(edition) if known else flag
