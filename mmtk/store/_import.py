"""MedMNIST's ``.npz`` made a store: what the file is, by its MD5 and its counts, and which of its rows are known."""

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
from mmtk.store._published import PublishedFile, published_as, unpublished
from mmtk.store._reader import already_there
from mmtk.store._writer import empty_records, write_blocks

_YOURS = (
    "images of your own need a dataset file, which mmtk draft begins and mmtk build takes; volumes of your own a "
    "dataset that a plugin registers"
)
_ANY = "whether it is what was published: the file has another MD5, so images, labels and their order may be any"
_Known = Mapping[str, Mapping[int, MapRow]]


def import_npz(path: str | Path, out: str | Path, flag: str | None = None, force: bool = False) -> Path:
    """Turn a MedMNIST ``.npz`` into a store, block by block.

    It is official by its MD5 alone. The store of a file that was never published is marked as such, and its edition is
    the one of its counts that has files of this size, if one has. A file with the counts of no edition, and without the
    marks of an `export_npz` of what is synthetic or partial, is taken by the dataset's own name alone, as small files
    for tests have it, and has neither the dataset's source nor its licence and citation. Where a file's counts and
    labels are those of the known official rows, records name the provider's file and the subject of every row whose
    file is known. All other records are named ``split/row``.

    A file that brings the facts of an own dataset, as `export_npz` writes it, becomes a store of these facts; its
    ``membership`` tells the file too.

    Parameters
    ----------
    path : path
        A file with the six arrays ``{train,val,test}_{images,labels}`` in any order;
        labels ``(n,)``, ``(n, 1)`` or ``(n, l)``.
    out : path
        Folder of the store, made if need be.
    flag : str, optional
        The dataset; by default told by the file itself or its name.
    force : bool
        Replace a store of other content; one of the same file is left alone.

    Returns
    -------
    Path
        ``out/{flag}_{size}.h5``.

    Raises
    ------
    StoreError
        If the file is damaged, holds pickles, lacks an array, its arrays do not fit each other or the dataset, it is no
        file of the dataset, its facts are no facts of an own dataset, or another store is in the way.
    """
    path, out = Path(path), Path(out)
    own = _own(path, flag)
    dataset = own or _known(_named(path) if flag is None else flag)
    with opened_npz(path, dataset) as npz:
        md5 = md5_of(path)
        if isinstance(dataset, StoreInfo):
            if npz.size != dataset.size:
                raise StoreError(path, expected=f"images of {dataset.size} px by its facts", found=f"{npz.size} px")
            known: _Known = {}
            info = as_imported(dataset, md5)
        else:
            published = published_as(dataset, md5)
            alien = not published and not _fits(dataset, npz)
            if alien and find_dataset(flag_named(path) or "") is not dataset:
                raise _foreign(path, dataset, npz, md5)
            edition = published.editions[0] if published else _edition(dataset, npz)
            known = {} if npz.marks else _known_rows(dataset, edition, npz)
            info = _info(dataset, edition, npz, md5, published, known)
            info = replace(info, source="", licence="", citation="", page="") if alien else info
        final = store_path(out, info.flag, npz.size)
        clear_leftovers(final)
        if already_there(final, info.plan_hash, force):
            return final
        records = {split: _records(split, len(npz.labels[split]), npz.size, known.get(split, {})) for split in SPLITS}
        return write_blocks(final, info, npz.labels, records, npz.images)


def _own(path: Path, flag: str | None) -> StoreInfo | None:
    """The facts that a file brings with it, None where it has none."""
    told = read_facts(path)
    info = own_facts(path, *told) if told else None
    if info and flag not in (None, info.flag):
        raise StoreError(path, expected=f"a file of {flag}", found=f"one of {info.flag}, by its facts")
    return info


def _named(path: Path) -> str:
    flag = flag_named(path)
    if flag is None:
        remedy = f"give a renamed file of MedMNIST its --flag; {_YOURS}"
        expected = "a name like breastmnist.npz, or a file with facts of its own"
        raise StoreError(path, expected=expected, found=path.name, remedy=remedy)
    return flag


def _known(flag: str) -> Dataset:
    """The dataset of a flag: an ``.npz`` does not tell what its classes and its task are."""
    try:
        return get_dataset(flag)
    except ArgumentError as error:
        remedy = "; ".join(filter(None, (error.remedy, _YOURS)))
        raise ArgumentError(error.what, expected=error.expected, remedy=remedy) from None


def _fits(dataset: Dataset, npz: OpenedNpz) -> bool:
    """Whether a file that was never published may be of a dataset; an own one has no counts to be told by."""
    return bool(npz.marks) or not dataset.counts or npz.counts in map(astuple, dataset.counts.values())


def _foreign(path: Path, dataset: Dataset, npz: OpenedNpz, md5: str) -> StoreError:
    counts = dict.fromkeys(map(str, dataset.counts.values()))
    expected = f"a file of {dataset.flag}: a published MD5, or {' or '.join(counts)}"
    rows = str(Counts(*npz.counts))
    return StoreError(path, expected=expected, found=f"{unpublished(md5)}, {rows}", remedy=_YOURS)


def _edition(dataset: Dataset, npz: OpenedNpz) -> str:
    """The edition of a file that was never published: the first that has its counts, and files of its size."""
    fitting = (edition for edition, counts in dataset.counts.items() if astuple(counts) == npz.counts)
    sized = (edition for edition in fitting if f"{edition}:{npz.size}" in dataset.md5)
    return next(sized, "unknown" if dataset.counts else "")


def _known_rows(dataset: Dataset, edition: str, npz: OpenedNpz) -> _Known:
    """Rows that are known of an edition, if the file has its counts and their labels."""
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
    total, told = sum(npz.counts), sum(map(len, known.values()))
    synthetic = SYNTHETIC in npz.marks
    how = ", as published" if published else "" if synthetic else ", which was never published"
    if told:
        how += f"; source files and subjects{'' if told == total else f' of {told} rows'} by the known map"
    recipe = dataset.recipe_for("official", npz.size) if published else ()  # how other files were made is not known
    lacking = bool(dataset.counts) and not synthetic and all(total < counts.total for counts in dataset.counts.values())
    return StoreInfo(
        flag=dataset.flag, title=dataset.title, modality=dataset.modality, task=dataset.task.value,
        classes=dataset.classes, channels=dataset.channels, size=npz.size, edition=edition,
        pixels="official" if published else IMPORTED, split="official" if published else IMPORTED,
        membership=f"the file with MD5 {md5}{how}", recipe=recipe_to_json(recipe), recipe_hash=recipe_hash(recipe),
        licence=dataset.source.licence, citation=dataset.source.citation, source=dataset.source.name,
        plan_hash=facts_hash([md5, edition, recipe_hash(recipe), told, lacking]),
        synthetic=synthetic, partial=lacking or PARTIAL in npz.marks,
        unchecked=() if published or synthetic or not dataset.counts else (_ANY,), mmtk_version=__version__,
        page=dataset.source.page, family="" if dataset.family == dataset.flag else dataset.family, ndim=dataset.ndim,
    )
