"""Prove what can be proved with what is at hand, dataset by dataset and size by size."""

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
from mmtk.proof._evidence import KINDS, Cell, Difference, Evidence, Need, Proof
from mmtk.proof._family import Built, Family
from mmtk.proof._files import Files, OfficialFile, find_official
from mmtk.proof._picture import draw_difference
from mmtk.proof._rows import Known, compare_rows
from mmtk.proof._signature import expects_jpeg, signature
from mmtk.store import Store

_OTHER_ZLIB = "ng" in zlib.ZLIB_RUNTIME_VERSION  # it deflates to other bytes, so that no file has its MD5


def prove(
    flags: str | Iterable[str] = (), *, sources: str | Path | None = None, npz: str | Path | None = None,
    stores: str | Path | None = None, sizes: Iterable[int] = SIZES, out: str | Path | None = None,
    workers: int | None = None, progress: Callable[[str], Progress] | None = None,
) -> Proof:
    """Prove, as far as the files at hand allow, that what is built from raw images is MedMNIST bit for bit.

    Stores are built and official files imported in a temporary folder (of ``TMPDIR``), one source at a time.

    Parameters
    ----------
    flags : str or iterable of str
        Datasets; none means all that MedMNIST published and that are built from raw images, the ten. Of others an
        official file is imported and exported again, and nothing more can be shown.
    sources : path, optional
        Folder with the raw data: a provider's own, or one that holds several.
    npz : path, optional
        Folder with official ``.npz`` files; their MD5s tell which are.
    stores : path, optional
        Folder with stores built before: they are taken as they are, what is not among them is built.
    sizes : iterable of int
        Edge lengths in pixels: 28, 64, 128 or 224. Those that a dataset has no official files of are passed by.
    out : path, optional
        Folder for pictures: of each dataset and size the first row that differs.
    workers : int, optional
        Threads of the build; by default one a core this process may use.
    progress : callable, optional
        Takes what is being built, gives a callable of images done and images in all.

    Returns
    -------
    Proof
        A cell a dataset and size, datasets in the order of `flags`.

    Raises
    ------
    ArgumentError
        If a dataset is unknown or somebody's own, a size has no official files, or a folder is none.
    StoreError
        If an official file or a store cannot be read, or the disk is full.
    """
    named = [flags] if isinstance(flags, str) else list(flags)
    chosen = list(dict.fromkeys(get_dataset(flag).flag for flag in named)) or [
        dataset.flag for dataset in list_datasets() if dataset.md5 and dataset.has_raw_pipeline
    ]
    wanted = sorted(set(sizes))
    if not wanted or set(wanted) - set(SIZES):
        raise ArgumentError("sizes", expected=" or ".join(map(str, SIZES)), found=str(wanted))
    raw, official, ready = _folder("sources", sources), _folder("npz", npz), _folder("stores", stores)
    pictures = None if out is None else Path(out)
    datasets = [get_dataset(flag) for flag in chosen]
    for dataset in datasets:
        if dataset.own:
            expected = "a dataset with published counts to hold it against"
            raise ArgumentError(f"prove {dataset.flag}", expected=expected, found="somebody's own")
        if not _sizes(dataset, wanted):
            expected = " or ".join(map(str, dataset.sizes))
            raise ArgumentError(f"sizes of {dataset.flag}", expected=expected, found=str(wanted))
    files = find_official(official, datasets, {28, *wanted}) if official else Files({}, {})
    families: dict[str, list[Dataset]] = {}
    for dataset in datasets:
        families.setdefault(dataset.family, []).append(dataset)
    cells: dict[tuple[str, int], Cell] = {}
    for members in families.values():
        with writing(Path(tempfile.gettempdir()) / "mmtk-prove", folder=True) as scratch:
            scratch.chmod(0o700)
            family = Family(members, wanted, raw, files, ready, scratch, workers, progress)
            for dataset in members:
                for size in _sizes(dataset, wanted):
                    cells[dataset.flag, size] = _Case(family, dataset, size, pictures).cell()
    return Proof(tuple(cells[flag, size] for flag in chosen for size in wanted if (flag, size) in cells))


def _sizes(dataset: Dataset, wanted: Iterable[int]) -> list[int]:
    """The sizes that can be proved of a dataset: volumes have official files of some alone."""
    return [size for size in wanted if size in dataset.sizes or not dataset.md5]


def _folder(name: str, path: str | Path | None) -> Path | None:
    if path is None:
        return None
    if not Path(path).is_dir():
        raise ArgumentError(f"{name} {path}", expected="a folder", found="none", remedy=f"see --{name}")
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
        """Everything that can be said."""
        if self.file is not None:
            self._with_official(self.file)
        self._counts()
        if self.built is not None:
            self._md5(self.built)
        order = list(KINDS)
        stranger = self.family.files.strangers.get((self.dataset.flag, self.size))
        strange = "npz not official" if stranger and self.file is None else ""
        return Cell(
            flag=self.dataset.flag, size=self.size, edition=self.edition,
            evidence=tuple(sorted(self.holds, key=lambda one: order.index(one.kind))),
            differences=tuple(sorted(self.differs, key=lambda one: order.index(one.kind))),
            needs=tuple(self._needs()), npz=str(self.file.path) if self.file else None,
            remark=strange if self.dataset.md5 else "never published",
        )

    def _hold(self, kind: str, text: str, detail: str) -> None:
        self.holds.append(Evidence(kind, text, detail))

    def _differ(self, kind: str, reason: str) -> None:
        self.differs.append(Difference(self.dataset.flag, self.size, kind, reason))

    def _with_official(self, file: OfficialFile) -> None:
        """Everything that the official file is needed for; it is imported once."""
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
        self._compare_md5("container", "container", "imported and exported again", store.export_npz(imported, folder))

    def _signature(self, imported: Store) -> None:
        found = signature(imported) if self.dataset.has_raw_pipeline else None  # else no recipe says what to expect
        if found is None:
            return
        expected = expects_jpeg(self.dataset, self.size)
        changed = f"{found.rows} images by {found.change:.2f} levels, the next by {found.again:.2f}"
        figures = f"one more round trip changes {changed}"
        if found.jpeg is expected:
            trace = "the trace of JPEG quality 75" if expected else "no trace of JPEG"
            self._hold("signature", "signature", f"{trace}, as the recipe says: {figures}")
        elif found.jpeg is not None:
            said = "JPEG quality 75 by the recipe, no trace of it" if expected else "no JPEG by the recipe, its trace"
            self._differ("signature", f"{said} in the official pixels: {figures}")

    def _rows(self, built: Built, imported: Store) -> None:
        dataset = self.dataset
        found = compare_rows(built.store, imported, self._known(built))
        if found.built and found.equal == found.built:
            place = f", {found.in_place:,} at their known place" if found.in_place else ""
            unknown = f"; {found.unknown:,} files beside them are no known official row" if found.unknown else ""
            official = sum(imported.counts.values())
            detail = f"of {official:,} official rows {found.equal:,} are built bit for bit{place}{unknown}"
            self._hold("rows", f"rows {found.equal:,} of {found.built:,}", detail)
        for number, row in enumerate(found.differing):
            picture = None
            if number == 0 and self.out is not None:
                name = f"{dataset.flag}_{self.size}_{row.split}_differs.png"
                picture = draw_difference(row, f"{dataset.title}, {self.size} px, {row.split}", self.out / name)
            reason = row.reason if number else f"{row.reason} ({found.equal:,} of {found.built:,} rows are equal)"
            self.differs.append(Difference(
                dataset.flag, self.size, "rows", reason, row.split, row.source, str(picture) if picture else None
            ))

    def _known(self, built: Built) -> Known:
        """What the known map, else the rule, tells of where rows stand."""
        whole = official_map(self.dataset.flag)
        rows = known_rows(self.dataset.flag, self.edition)
        places = {
            row.source: (split, number)
            for split, numbered in rows.items() for number, row in numbered.items() if row.source is not None
        }
        unplaced = frozenset(row.source for row in whole.unplaced if row.source is not None) if whole else frozenset()
        certain = whole is not None or built.in_order
        pools = {split: (split,) if certain else self.dataset.split.may_be(split) for split in SPLITS}
        return Known(built.in_order, places, unplaced, pools)

    def _counts(self) -> None:
        counts = self.family.counts[self.dataset.flag]
        if counts is None:
            return
        edition = self.dataset.first_edition if self.dataset.volumetric else self.edition
        published = vars(self.dataset.counts[edition])
        said = ", ".join(f"{split} {n:,}" for split, n in counts.items())
        if counts == published:
            later = self.dataset.counts[edition] != self.dataset.counts[self.edition]
            blank = f", those of {edition}: which slices {self.edition} leaves out only volumes tell" if later else ""
            self._hold("counts", "counts", f"{said}{blank}")
        else:
            wanted = ", ".join(f"{split} {n:,}" for split, n in published.items())
            known = "published" if self.dataset.md5 else "declared"
            self._differ("counts", f"the split rule gives {said}, {known} are {wanted}")

    def _md5(self, built: Built) -> None:
        if built.store.info.partial or not built.in_order or self.published is None or _OTHER_ZLIB:
            return
        if any(one.kind == "rows" for one in self.differs):
            return  # then the file differs too
        folder = self.family.scratch / "exported"
        how = "built from raw images and exported"
        self._compare_md5("md5", "MD5", how, store.export_npz(built.store, folder))
        shutil.rmtree(folder)

    def _compare_md5(self, kind: str, text: str, how: str, npz: Path) -> None:
        md5 = md5_of(npz)
        if md5 == self.published:
            self._hold(kind, text, f"{how} it has the published MD5 {md5}")
        else:
            self._differ(kind, f"{how}: MD5 {md5}, published {self.published}")

    def _needs(self) -> Iterable[Need]:
        """What would give stronger evidence; nothing if there is none."""
        flag = self.dataset.flag
        if any(one.kind == "md5" for one in self.holds):
            return
        if not self.dataset.has_raw_pipeline and any(one.kind == "container" for one in self.holds):
            return
        stranger = self.family.files.strangers.get((flag, self.size))
        if self.file is None and self.dataset.md5:
            if stranger is not None:
                yield Need(flag, None, "other", f"{stranger.path.name}: {stranger.reason}")
            if self.published:
                yield Need(flag, self.size, "official", f"mmtk fetch {flag} --size {self.size} --out DIR")
        if self.source.problem:
            yield Need(flag, None, "raw", self.source.problem)
        for problem in self.family.problems[flag]:
            yield Need(flag, None, "raw", problem)
        unordered = self.built and not (self.built.in_order or self.built.store.info.partial)
        if self.dataset.md5 and self.source.complete and unordered:
            yield Need(flag, None, "other", self._what_order_needs())
        if _OTHER_ZLIB:
            yield Need(flag, None, "other", "a Python with classic zlib: this one's deflates to other bytes, so no MD5")

    def _what_order_needs(self) -> str:
        """Why rows that are all there cannot be put in their official order."""
        known = official_map(self.dataset.flag)
        if known is None or not known.ordered:
            return f"the order of the official rows, which the official 28 px file of {self.edition} tells"
        unknown = sum(row.source is None for rows in known.rows.values() for row in rows)
        return f"the raw images of {unknown:,} official rows, which are not known"
