"""The ten datasets: their facts, where their images lie, how they are split; a module a family, found by itself."""

from __future__ import annotations

from difflib import get_close_matches
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from mmtk.datasets.base import Dataset
from mmtk.errors import ArgumentError

__all__ = ["edition_flag", "get_dataset", "list_datasets", "register"]

# the order of the paper's Table 1; datasets it does not have come after
_TABLE_1 = (
    "pathmnist", "chestmnist", "dermamnist", "octmnist", "pneumoniamnist", "retinamnist", "breastmnist",
    "organamnist", "organcmnist", "organsmnist",
)
_REGISTRY: dict[str, Dataset] = {}


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
        If its flag or one of its aliases is taken.
    """
    names = (dataset.flag, *dataset.aliases)
    for name in names:
        if name in _REGISTRY or names.count(name) > 1:
            owner = _REGISTRY.get(name, dataset).title
            raise ArgumentError(f"dataset {dataset.flag}", expected="names not yet taken", found=f"{name} of {owner}")
    _REGISTRY.update(dict.fromkeys(names, dataset))
    return dataset


@cache
def _load_families() -> None:
    """Import every module of this room, so that each registers what it describes."""
    for module in iter_modules(__path__):
        if not module.ispkg:
            import_module(f"{__name__}.{module.name}")


def list_datasets() -> tuple[Dataset, ...]:
    """All known datasets, in the order of the paper's Table 1.

    Returns
    -------
    tuple of Dataset
    """
    _load_families()
    known = dict.fromkeys(dataset.flag for dataset in _REGISTRY.values())
    flags = [flag for flag in _TABLE_1 if flag in known] + [flag for flag in known if flag not in _TABLE_1]
    return tuple(_REGISTRY[flag] for flag in flags)


def get_dataset(name: str) -> Dataset:
    """A dataset by its flag or an alias, in any case of letters.

    Parameters
    ----------
    name : str
        For instance ``breastmnist``, or ``organmnist_axial`` of 2020.

    Returns
    -------
    Dataset

    Raises
    ------
    ArgumentError
        If no dataset has that name; it suggests those that come close.
    """
    _load_families()
    found = _REGISTRY.get(name.lower())
    if found is None:
        close = get_close_matches(name.lower(), _REGISTRY, n=1)
        remedy = f"did you mean {close[0]}?" if close else ""
        flags = ", ".join(dataset.flag for dataset in list_datasets())
        raise ArgumentError(f"dataset {name}", expected=f"one of {flags}", remedy=remedy)
    return found


def edition_flag(flag: str, edition: str) -> str:
    """The flag a dataset's files bear in an edition: the Organ sets had others in 2020. Unknown flags stay."""
    _load_families()
    return _REGISTRY[flag].alias_of(edition) if flag in _REGISTRY else flag
