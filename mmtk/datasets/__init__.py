"""MedMNIST's datasets: their facts, where their images lie, how they are split; a module a family, found by itself.

The paper's ten are built from raw images, the eight that came in 2021 are known by their official files alone. Others
are registered beside them, or come with plugins: packages with entry points of the group ``mmtk.datasets``.
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

# the order of the paper's Table 1, then what MedMNIST's second version added; other datasets come after
TEN = (
    "pathmnist", "chestmnist", "dermamnist", "octmnist", "pneumoniamnist", "retinamnist", "breastmnist",
    "organamnist", "organcmnist", "organsmnist",
)
EIGHT = (
    "bloodmnist", "tissuemnist", "organmnist3d", "nodulemnist3d", "adrenalmnist3d", "fracturemnist3d", "vesselmnist3d",
    "synapsemnist3d",
)
EIGHTEEN = (*TEN, *EIGHT)  # all that MedMNIST published


def _load_families() -> None:
    """Import every module of this room, so that each registers what it describes."""
    for module in iter_modules(__path__):
        if not module.ispkg:
            import_module(f"{__name__}.{module.name}")


def _load_plugins() -> None:
    plugins.load("mmtk.datasets", lambda value: isinstance(value, Dataset) and register(value) is value)


_DATASETS: Registry[Dataset] = Registry("dataset", EIGHTEEN, _load_families, _load_plugins)


def register(dataset: Dataset) -> Dataset:
    """Make a dataset known under its flag and its aliases.

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    Dataset
        The same one.

    Raises
    ------
    ArgumentError
        If it is no dataset, or its flag or one of its aliases is taken.
    """
    if not isinstance(dataset, Dataset):
        raise ArgumentError("dataset", expected="a mmtk.datasets.base.Dataset", found=type(dataset).__name__)
    return _DATASETS.add(dataset, dataset.flag, *dataset.aliases)


def list_datasets() -> tuple[Dataset, ...]:
    """All known datasets: the ten in the order of the paper's Table 1, then the eight of 2021, then others.

    Returns
    -------
    tuple of Dataset
    """
    return tuple(_DATASETS)


def get_dataset(name: str, others: str = "") -> Dataset:
    """A dataset by its flag or an alias, in any case of letters.

    Parameters
    ----------
    name : str
        For instance ``breastmnist``, or ``organmnist_axial`` of 2020.
    others : str
        What else could have been given, for the error.

    Returns
    -------
    Dataset

    Raises
    ------
    ArgumentError
        If no dataset has that name; it suggests those that come close.
    """
    return _DATASETS.get(name.lower(), others)


def find_dataset(flag: str) -> Dataset | None:
    """The dataset of a flag or an alias, None where mmtk knows none: a store may be of any."""
    return _DATASETS.get(flag) if flag in _DATASETS else None


def family_of(flag: str) -> str:
    """The family of a dataset; one that is not known is its own."""
    known = find_dataset(flag)
    return known.family if known else flag


def edition_flag(flag: str, edition: str) -> str:
    """The flag a dataset's files bear in an edition: the Organ sets had others in 2020. Unknown flags stay."""
    known = find_dataset(flag)
    return known.alias_of(edition) if known else flag
