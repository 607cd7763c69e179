"""Prove as much as the available files allow, dataset by dataset and size by size."""

from __future__ import annotations

import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

from mmtk import store
from mmtk.base import Progress, md5_of
from mmtk.datasets import get_dataset, list_datasets
from mmtk.datasets.base import SPLITS, Dataset
from mmtk.datasets.maps import known_rows, official_map
from mmtk.datasets.official import SIZES
from mmtk.errors import ArgumentError
from mmtk.files import writing
from mmtk.proof._counts import Source
from mmtk.proof._evidence import KINDS, Cell, Difference, Evidence, Proof, Requirement
from mmtk.proof._family import BuiltStore, Family
from mmtk.proof._files import Files, OfficialFile, find_official
from mmtk.proof._picture import draw_difference
from mmtk.proof._rows import KnownRows, compare_rows
from mmtk.proof._signature import expects_jpeg, signature
from mmtk.store import Store

_OTHER_ZLIB = "ng" in zlib.ZLIB_RUNTIME_VERSION  # compresses to other bytes, so no file gets its published MD5


def prove(
    flags: str | Iterable[str] = (), *, sources: str | Path | None = None, npz: str | Path | None = None,
    stores: str | Path | None = None, sizes: Iterable[int] = SIZES, out: str | Path | None = None,
    workers: int | None = None, progress: Callable[[str], Progress] | None = None,
) -> Proof:
    """Prove, as far as the available files allow, that stores built from raw images are MedMNIST bit for bit.

    Stores are built and official files imported in a temporary folder (of ``TMPDIR``), one source at a time.

    Parameters
    ----------
    flags : str or iterable of str
        Datasets; by default the ten, which MedMNIST published and which are built from raw images. For any other
        dataset only the import and export of its official file can be checked.
    sources : path, optional
        Folder with the raw data: that of a provider, or one that holds several.
    npz : path, optional
        Folder with official ``.npz`` files, recognised by their MD5.
    stores : path, optional
        Folder with stores built earlier, which are used as they are; missing ones are built.
    sizes : iterable of int
        Edge lengths in pixels: 28, 64, 128 or 224. Sizes without official files of a dataset are skipped.
    out : path, optional
        Folder for pictures of the first row that differs, for each dataset and size.
    workers : int, optional
        Threads of the build; by default one per core available to this process.
    progress : callable, optional
        Called with what is being built; returns a callable that is given the number of images done and in total.

    Returns
    -------
    Proof
        One cell per dataset and size, datasets in the order of `flags`.

    Raises
    ------
    ArgumentError
        If a dataset is unknown or the user's own, a size has no official files, or a folder does not exist.
    StoreError
        If an official file or a store cannot be read, or the disk is full.

    Examples
    --------
    >>> from mmtk.proof import prove
    >>> proof = prove("breastmnist", sources="sources", sizes=[28])
    >>> proof.cells[0].text, proof.needs[-1].text[-9:]
    ('nothing', 'synthetic')
    """
    named = [flags] if isinstance(flags, str) else list(flags)
    chosen = list(dict.fromkeys(get_dataset(flag).flag for flag in named)) or [
        dataset.flag for dataset in list_datasets() if dataset.md5 and dataset.has_raw_pipeline
    ]
    wanted = sorted(set(sizes))
    if not wanted or set(wanted) - set(SIZES):
        raise ArgumentError("sizes", expected=" or ".join(map(str, SIZES)), found=", ".join(map(str, wanted)) or "none")
    raw, official, existing = _folder("sources", sources), _folder("npz", npz), _folder("stores", stores)
    pictures = None if out is None else Path(out)
    datasets = [get_dataset(flag) for flag in chosen]
    for dataset in datasets:
        if dataset.own:
            raise ArgumentError(f"prove {dataset.flag}", "was never published: there is nothing to compare it with")
        if not _sizes(dataset, wanted):
            expected, actual = " or ".join(map(str, dataset.sizes)), ", ".join(map(str, wanted))
            raise ArgumentError(f"sizes of {dataset.flag}", expected=expected, found=actual)
    files = find_official(official, datasets, {28, *wanted}) if official else Files({}, {})
    families: dict[str, list[Dataset]] = {}
    for dataset in datasets:
        families.setdefault(dataset.family, []).append(dataset)
    cells: dict[tuple[str, int], Cell] = {}
    for members in families.values():
        with writing(Path(tempfile.gettempdir()) / "mmtk-prove", folder=True) as scratch:
            scratch.chmod(0o700)
            family = Family(members, wanted, raw, files, existing, scratch, workers, progress)
            for dataset in members:
                for size in _sizes(dataset, wanted):
                    cells[dataset.flag, size] = _Case(family, dataset, size, pictures).cell()
    return Proof(tuple(cells[flag, size] for flag in chosen for size in wanted if (flag, size) in cells))


def _sizes(dataset: Dataset, wanted: Iterable[int]) -> list[int]:
    """The sizes that can be proved for a dataset: volumes have official files at some sizes only."""
    return [size for size in wanted if size in dataset.sizes or not dataset.md5]


def _folder(name: str, path: str | Path | None) -> Path | None:
    if path is None:
        return None
    if not Path(path).is_dir():
        raise ArgumentError(f"{name} {path}", "is not a folder", remedy=f"see --{name}")
    return Path(path)


class _Case:
    """One dataset at one size."""

    def __init__(self, family: Family, dataset: Dataset, size: int, out: Path | None) -> None:
        self.family, self.dataset, self.size, self.out = family, dataset, size, out
        self.edition = family.edition(dataset, size)
        self.published = dataset.published(self.edition, size)
        self.source: Source = family.sources[dataset.flag]
        self.built = family.built.get((dataset.flag, size))
        self.file: OfficialFile | None = family.files.official.get((dataset.flag, size))
        self.holds: list[Evidence] = []
        self.differs: list[Difference] = []

    def cell(self) -> Cell:
        """Collect everything that can be shown."""
        if self.file is not None:
            self._with_official(self.file)
        self._counts()
        if self.built is not None:
            self._md5(self.built)
        order = list(KINDS)
        unofficial = self.family.files.unofficial.get((self.dataset.flag, self.size))
        remark = "npz not official" if unofficial and self.file is None else ""
        return Cell(
            flag=self.dataset.flag, size=self.size, edition=self.edition,
            evidence=tuple(sorted(self.holds, key=lambda evidence: order.index(evidence.kind))),
            differences=tuple(sorted(self.differs, key=lambda difference: order.index(difference.kind))),
            needs=tuple(self._needs()), npz=str(self.file.path) if self.file else None,
            remark=remark if self.dataset.md5 else "never published",
        )

    def _hold(self, kind: str, text: str, detail: str) -> None:
        self.holds.append(Evidence(kind, text, detail))

    def _differ(self, kind: str, reason: str) -> None:
        self.differs.append(Difference(self.dataset.flag, self.size, kind, reason))

    def _with_official(self, file: OfficialFile) -> None:
        """All checks that need the official file, which is imported once."""
        folder = self.family.scratch / "official"
        imported = store.open(store.import_npz(file.path, folder, self.dataset.flag))
        self._container(imported, folder)
        self._signature(imported)
        if self.built is not None:
            self._rows(self.built, imported)
        del imported
        shutil.rmtree(folder)

    def _container(self, imported: Store, folder: Path) -> None:
        if _OTHER_ZLIB:
            return
        self._compare_md5("container", "container", "imported and exported again,", store.export_npz(imported, folder))

    def _signature(self, imported: Store) -> None:
        measured = signature(imported) if self.dataset.has_raw_pipeline else None  # needs a recipe to compare with
        if measured is None:
            return
        expected = expects_jpeg(self.dataset, self.size)
        changed = f"{measured.rows} images by {measured.change:.2f} levels, the next by {measured.again:.2f}"
        figures = f"one more round trip changes {changed}"
        if measured.jpeg is expected:
            trace = "traces of JPEG quality 75" if expected else "no trace of JPEG"
            self._hold("signature", "signature", f"{trace}, as the recipe says: {figures}")
        elif measured.jpeg is not None:
            trace = "no trace of the recipe's JPEG step" if expected else "traces of JPEG, though the recipe has none,"
            self._differ("signature", f"{trace} in the official pixels: {figures}")

    def _rows(self, built: BuiltStore, imported: Store) -> None:
        dataset = self.dataset
        rows = compare_rows(built.store, imported, self._known(built))
        if rows.built and rows.equal == rows.built:
            place = f", {rows.in_place:,} at their known place" if rows.in_place else ""
            unknown = f"; {rows.unknown:,} other files are not known official rows" if rows.unknown else ""
            official = sum(imported.counts.values())
            detail = f"{rows.equal:,} of {official:,} official rows are rebuilt bit for bit{place}{unknown}"
            self._hold("rows", f"rows {rows.equal:,} of {rows.built:,}", detail)
        for number, row in enumerate(rows.differing):
            picture = None
            if number == 0 and self.out is not None:
                name = f"{dataset.flag}_{self.size}_{row.split}_differs.png"
                picture = draw_difference(row, f"{dataset.title}, {self.size} px, {row.split}", self.out / name)
            reason = row.reason if number else f"{row.reason} ({rows.equal:,} of {rows.built:,} rows are equal)"
            self.differs.append(Difference(
                dataset.flag, self.size, "rows", reason, row.split, row.source, str(picture) if picture else None
            ))

    def _known(self, built: BuiltStore) -> KnownRows:
        """Where rows belong by the known map, else by the split rule."""
        whole = official_map(self.dataset.flag)
        rows = known_rows(self.dataset.flag, self.edition)
        places = {
            row.source: (split, number)
            for split, numbered in rows.items() for number, row in numbered.items() if row.source is not None
        }
        unplaced = frozenset(row.source for row in whole.unplaced if row.source is not None) if whole else frozenset()
        certain = whole is not None or built.in_order
        pools = {split: (split,) if certain else self.dataset.split.may_be(split) for split in SPLITS}
        return KnownRows(built.in_order, places, unplaced, pools)

    def _counts(self) -> None:
        counts = self.family.counts[self.dataset.flag]
        if counts is None:
            return
        edition = self.dataset.first_edition if self.dataset.volumetric else self.edition
        published = vars(self.dataset.counts[edition])
        text = ", ".join(f"{split} {n:,}" for split, n in counts.items())
        if counts == published:
            later = self.dataset.counts[edition] != self.dataset.counts[self.edition]
            blank = f", as in {edition} (only the volumes show which slices {self.edition} omits)" if later else ""
            self._hold("counts", "counts", f"{text}{blank}")
        else:
            wanted = ", ".join(f"{split} {n:,}" for split, n in published.items())
            known = "published" if self.dataset.md5 else "declared"
            self._differ("counts", f"the split rule gives {text}, but {wanted} are {known}")

    def _md5(self, built: BuiltStore) -> None:
        if built.store.info.partial or not built.in_order or self.published is None or _OTHER_ZLIB:
            return
        if any(difference.kind == "rows" for difference in self.differs):
            return  # the file differs too, then
        folder = self.family.scratch / "exported"
        how = "built from raw images and exported,"
        self._compare_md5("md5", "MD5", how, store.export_npz(built.store, folder))
        shutil.rmtree(folder)

    def _compare_md5(self, kind: str, text: str, how: str, npz: Path) -> None:
        md5 = md5_of(npz)
        if md5 == self.published:
            self._hold(kind, text, f"{how} it has the published MD5 {md5}")
        else:
            self._differ(kind, f"{how} it has the MD5 {md5}, but {self.published} was published")

    def _needs(self) -> Iterable[Requirement]:
        """What would give stronger evidence, if there is any."""
        flag, kinds = self.dataset.flag, {evidence.kind for evidence in self.holds}
        if "md5" in kinds or ("container" in kinds and not self.dataset.has_raw_pipeline):
            return
        unofficial = self.family.files.unofficial.get((flag, self.size))
        if self.file is None and self.dataset.md5:
            if unofficial is not None:
                yield Requirement(flag, None, "other", f"{unofficial.path.name}: {unofficial.reason}")
            if self.published:
                yield Requirement(flag, self.size, "official", f"mmtk fetch {flag} --size {self.size} --out DIR")
        if self.source.problem:
            yield Requirement(flag, None, "raw", self.source.problem)
        for problem in self.family.problems[flag]:
            yield Requirement(flag, None, "raw", problem)
        unordered = self.built and not (self.built.in_order or self.built.store.info.partial)
        if self.dataset.md5 and self.source.complete and unordered:
            yield Requirement(flag, None, "other", self._what_order_needs())
        if _OTHER_ZLIB:
            text = "a Python built with classic zlib: this one compresses to other bytes, so its MD5s differ"
            yield Requirement(flag, None, "other", text)

    def _what_order_needs(self) -> str:
        """Why a complete set of rows cannot be put into official order."""
        known = official_map(self.dataset.flag)
        if known is None or not known.ordered:
            return f"the order of the official rows, which is in the official 28 px file of {self.edition}"
        unknown = sum(row.source is None for rows in known.rows.values() for row in rows)
        return f"the raw images of {unknown:,} official rows, which are unknown"
