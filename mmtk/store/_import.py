"""Import a MedMNIST ``.npz``: identify the file by its MD5 and counts, and its rows by the known map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, replace
from pathlib import Path

from mmtk import __version__
from mmtk.base import md5_of
from mmtk.datasets import find_dataset, get_dataset
from mmtk.datasets.base import SPLITS, Counts, Dataset
from mmtk.datasets.maps import MapRow, known_rows
from mmtk.datasets.marks import PARTIAL, SYNTHETIC
from mmtk.datasets.steps import facts_hash, recipe_hash, recipe_to_json
from mmtk.errors import ArgumentError, StoreError
from mmtk.files import clear_leftovers
from mmtk.store._facts import as_imported, own_facts
from mmtk.store._format import IMPORTED, Array, StoreInfo, store_path
from mmtk.store._npz import OpenedNpz, flag_named, opened_npz, read_facts
from mmtk.store._published import PublishedFile, published_as
from mmtk.store._reader import already_there
from mmtk.store._writer import empty_records, write_blocks

_OWN_DATA = (
    "for your own images write a dataset file (mmtk draft) and run mmtk build; for your own volumes register a dataset "
    "in a plugin"
)
_ANY = "whether it is what was published: the file has another MD5, so images, labels and their order may be any"
_Known = Mapping[str, Mapping[int, MapRow]]


def import_npz(path: str | Path, out: str | Path, flag: str | None = None, force: bool = False) -> Path:
    """Convert a MedMNIST ``.npz`` to a store, block by block.

    Only a published MD5 makes a file official. The store of any other file is marked UNPUBLISHED, and its edition is
    the first with its counts and with files of its size. A file whose counts match no edition is accepted only if its
    name is the dataset's (small files for tests) or its comment marks it as synthetic or partial, as `export_npz`
    does; unmarked, it gets neither the dataset's source nor its licence and citation. If counts and labels match the
    known official rows, records name the provider's file and the subject of every row whose file is known; all other
    records are named ``split/row``.

    A file with the facts of a user's own dataset, as written by `export_npz`, becomes a store with these facts; its
    ``membership`` also names the file.

    Parameters
    ----------
    path : path
        A file with the six arrays ``{train,val,test}_{images,labels}`` in any order: images ``(n, h, w[, 3])`` or, for
        volumes, ``(n, d, h, w)`` uint8; labels ``(n,)``, ``(n, 1)`` or ``(n, l)`` integers.
    out : path
        Folder of the store, created if needed.
    flag : str, optional
        The dataset; by default taken from the file's facts or name.
    force : bool
        Overwrite a store of different content; a store of the same file is kept.

    Returns
    -------
    Path
        ``out/{flag}_{size}.h5``.

    Raises
    ------
    StoreError
        If the file is corrupt, holds pickles, lacks an array, does not fit the dataset, or has invalid facts, or if
        another store exists there.
    ArgumentError
        If the flag is unknown.

    Examples
    --------
    >>> from mmtk.store import import_npz
    >>> import_npz("breastmnist.npz", "imported").as_posix()
    'imported/breastmnist_28.h5'
    """
    path, out = Path(path), Path(out)
    own = _own(path, flag)
    dataset = own or _known(_named(path) if flag is None else flag)
    with opened_npz(path, dataset) as npz:
        md5 = md5_of(path)
        if isinstance(dataset, StoreInfo):
            if npz.size != dataset.size:
                problem = "the images do not have the size in its facts"
                raise StoreError(path, problem, expected=f"{dataset.size} px", found=f"{npz.size} px")
            known: _Known = {}
            info = as_imported(dataset, md5)
        else:
            published = published_as(dataset, md5)
            unfamiliar = not published and not _fits(dataset, npz)
            if unfamiliar and find_dataset(flag_named(path) or "") is not dataset:
                raise _not_of_dataset(path, dataset, npz, md5)
            edition = published.editions[0] if published else _edition(dataset, npz)
            known = {} if npz.marks else _known_rows(dataset, edition, npz)
            info = _info(dataset, edition, npz, md5, published, known)
            info = replace(info, source="", licence="", citation="", page="") if unfamiliar else info
        final = store_path(out, info.flag, npz.size)
        clear_leftovers(final)
        if already_there(final, info.plan_hash, force):
            return final
        records = {split: _records(split, len(npz.labels[split]), npz.size, known.get(split, {})) for split in SPLITS}
        return write_blocks(final, info, npz.labels, records, npz.images)


def _own(path: Path, flag: str | None) -> StoreInfo | None:
    """The facts embedded in a file, None if it has none."""
    embedded = read_facts(path)
    info = own_facts(path, *embedded) if embedded else None
    if info and flag not in (None, info.flag):
        raise StoreError(path, "is a file of another dataset by its facts", expected=flag or "", found=info.flag)
    return info


def _named(path: Path) -> str:
    flag = flag_named(path)
    if flag is None:
        remedy = f"use --flag for a renamed file of MedMNIST; {_OWN_DATA}"
        raise StoreError(path, "its name is not one of MedMNIST's, such as breastmnist.npz", remedy=remedy)
    return flag


def _known(flag: str) -> Dataset:
    """The dataset of a flag; an ``.npz`` itself does not say what its classes and task are."""
    try:
        return get_dataset(flag)
    except ArgumentError as error:
        remedy = "; ".join(filter(None, (error.remedy, _OWN_DATA)))
        raise ArgumentError(
            error.what, error.problem, expected=error.expected, found=error.found, remedy=remedy
        ) from None


def _fits(dataset: Dataset, npz: OpenedNpz) -> bool:
    """Whether an unpublished file may belong to a dataset; a user's own dataset has no counts to check."""
    return bool(npz.marks) or not dataset.counts or npz.counts in map(astuple, dataset.counts.values())


def _not_of_dataset(path: Path, dataset: Dataset, npz: OpenedNpz, md5: str) -> StoreError:
    problem = f"is not a file of {dataset.flag}: its MD5 ({md5}) was not published and its counts differ"
    expected = " or ".join(dict.fromkeys(map(str, dataset.counts.values())))
    return StoreError(path, problem, expected=expected, found=str(Counts(*npz.counts)), remedy=_OWN_DATA)


def _edition(dataset: Dataset, npz: OpenedNpz) -> str:
    """The edition of an unpublished file: the first with its counts that has files of its size."""
    fitting = (edition for edition, counts in dataset.counts.items() if astuple(counts) == npz.counts)
    sized = (edition for edition in fitting if f"{edition}:{npz.size}" in dataset.md5)
    return next(sized, "unknown" if dataset.counts else "")


def _known_rows(dataset: Dataset, edition: str, npz: OpenedNpz) -> _Known:
    """The known rows of an edition, if the file has its counts and their labels."""
    if edition not in dataset.counts or astuple(dataset.counts[edition]) != npz.counts:
        return {}
    known = known_rows(dataset.flag, edition)
    equal = all(
        npz.labels[split][list(rows)].tolist() == [list(row.labels) for row in rows.values()]
        for split, rows in known.items()
    )
    return known if equal else {}


def _records(split: str, rows: int, size: int, known: Mapping[int, MapRow]) -> Array:
    names, subjects = [f"{split}/{row}" for row in range(rows)], [""] * rows
    for number, row in known.items():
        names[number], subjects[number] = row.source or names[number], row.subject
    return empty_records(names, size, subjects)


def _info(
    dataset: Dataset, edition: str, npz: OpenedNpz, md5: str, published: PublishedFile | None, known: _Known
) -> StoreInfo:
    total, mapped = sum(npz.counts), sum(map(len, known.values()))
    synthetic = SYNTHETIC in npz.marks
    how = ", as published" if published else "" if synthetic else ", which was never published"
    if mapped:
        how += f"; source files and subjects{'' if mapped == total else f' of {mapped} rows'} by the known map"
    recipe = dataset.recipe_for("official", npz.size) if published else ()  # it is unknown how other files were made
    lacking = bool(dataset.counts) and not synthetic and all(total < counts.total for counts in dataset.counts.values())
    return StoreInfo(
        flag=dataset.flag, title=dataset.title, modality=dataset.modality, task=dataset.task.value,
        classes=dataset.classes, channels=dataset.channels, size=npz.size, edition=edition,
        pixels="official" if published else IMPORTED, split="official" if published else IMPORTED,
        membership=f"the file with MD5 {md5}{how}", recipe=recipe_to_json(recipe), recipe_hash=recipe_hash(recipe),
        licence=dataset.source.licence, citation=dataset.source.citation, source=dataset.source.name,
        plan_hash=facts_hash([md5, edition, recipe_hash(recipe), mapped, lacking]),
        synthetic=synthetic, partial=lacking or PARTIAL in npz.marks,
        unchecked=() if published or synthetic or not dataset.counts else (_ANY,), mmtk_version=__version__,
        page=dataset.source.page, family="" if dataset.family == dataset.flag else dataset.family, ndim=dataset.ndim,
    )
