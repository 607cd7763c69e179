"""Datasets made from the same raw files: their sources, and their stores, built at all sizes in one pass."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mmtk import store
from mmtk.base import Progress
from mmtk.builder import build
from mmtk.datasets import get_dataset
from mmtk.datasets.base import Dataset
from mmtk.datasets.maps import official_map
from mmtk.errors import SourceError
from mmtk.proof._counts import counts_by_rule, look, reason_without_remedy
from mmtk.proof._files import Files
from mmtk.store import Store


@dataclass(frozen=True)
class BuiltStore:
    """A store built from raw images, and whether its rows are, as far as is known, the official ones in order."""

    store: Store
    in_order: bool


class Family:
    """Datasets made from the same raw files: their sources, and their stores, built at all sizes in one pass."""

    def __init__(
        self, members: list[Dataset], sizes: list[int], raw: Path | None, files: Files, stores: Path | None,
        scratch: Path, workers: int | None, progress: Callable[[str], Progress] | None,
    ) -> None:
        self.files, self.scratch = files, scratch
        self.sources = {dataset.flag: look(raw, dataset) for dataset in members}
        self.counts = {dataset.flag: counts_by_rule(dataset, self.sources[dataset.flag]) for dataset in members}
        self.built: dict[tuple[str, int], BuiltStore] = {}
        self.problems: dict[str, list[str]] = {dataset.flag: [] for dataset in members}
        by_edition: dict[str, dict[int, list[Dataset]]] = {}
        for dataset in members:
            for size in sizes:
                edition = self.edition(dataset, size)
                opened = _existing_store(stores, dataset, size, edition)
                if opened is not None:
                    self.built[dataset.flag, size] = BuiltStore(opened, self._ordered(dataset, opened))
                elif self.sources[dataset.flag].scan is not None and not self.sources[dataset.flag].synthetic:
                    by_edition.setdefault(edition, {}).setdefault(size, []).append(dataset)
        for edition, by_size in by_edition.items():
            together: dict[tuple[str, ...], list[int]] = {}
            for size, lacking in by_size.items():
                together.setdefault(tuple(dataset.flag for dataset in lacking), []).append(size)
            for flags, their_sizes in together.items():
                assert raw is not None
                self._build([get_dataset(flag) for flag in flags], their_sizes, edition, raw, workers, progress)

    def edition(self, dataset: Dataset, size: int) -> str:
        """The edition of the available official file, else the latest."""
        file = self.files.official.get((dataset.flag, size))
        return file.edition if file else list(dataset.counts)[-1]

    def _build(
        self, datasets: list[Dataset], sizes: list[int], edition: str, raw: Path, workers: int | None,
        progress: Callable[[str], Progress] | None,
    ) -> None:
        links = self.scratch / f"order-{edition}"
        links.mkdir(exist_ok=True)
        matched = [dataset for dataset in datasets if self._to_be_matched(dataset, edition)]
        for dataset in matched:
            path = self.files.official[dataset.flag, 28].path
            link = links / f"{dataset.alias_of(edition)}.npz"
            link.unlink(missing_ok=True)
            os.symlink(path.absolute(), link)
        try:
            results = build(
                datasets, sources=raw, out=self.scratch / f"built-{edition}-{sizes[0]}", sizes=sizes, edition=edition,
                match_npz=links if matched else None, allow_partial=True, on_error="skip", workers=workers,
                progress=progress,
            )
        except SourceError as error:
            for dataset in datasets:
                self.problems[dataset.flag].append(f"raw files: {reason_without_remedy(error)}")
            return
        for result in results:
            opened = store.open(result.path)
            ordered = get_dataset(result.flag) in matched or self._ordered(get_dataset(result.flag), opened)
            self.built[result.flag, result.size] = BuiltStore(opened, ordered and not opened.info.partial)
            bad = sorted({(finding.name, finding.detail) for finding in result.findings if finding.kind == "bad"})
            if bad:
                text = f"raw files: {len(bad):,} cannot be used, first {bad[0][0]}: {bad[0][1]}"
                if text not in self.problems[result.flag]:
                    self.problems[result.flag].append(text)

    def _to_be_matched(self, dataset: Dataset, edition: str) -> bool:
        """Whether the order of rows is unknown and can be recovered from the official file of 28 px."""
        file = self.files.official.get((dataset.flag, 28))
        known = official_map(dataset.flag)
        return (
            self.sources[dataset.flag].complete and file is not None and file.edition == edition
            and (known is None or not known.ordered)
        )

    @staticmethod
    def _ordered(dataset: Dataset, built: Store) -> bool:
        """Whether a store has every row in its known official place."""
        known = official_map(dataset.flag)
        if known is None or not known.ordered or built.info.partial:
            return False
        named = all(row.source is not None for rows in known.rows.values() for row in rows)
        return named and built.counts == {split: len(rows) for split, rows in known.rows.items()}


def _existing_store(folder: Path | None, dataset: Dataset, size: int, edition: str) -> Store | None:
    """The store in a folder if it was built from raw images as MedMNIST was, else None."""
    path = store.store_path(folder, dataset.flag, size) if folder else None
    if path is None or not path.is_file():
        return None
    opened = store.open(path)
    info = opened.info
    same_rows = info.edition in dataset.counts and dataset.counts[info.edition] == dataset.counts[edition]
    imported = info.membership.startswith("the file with MD5")
    fits = (info.pixels, info.split) == ("official", "official") and same_rows and not info.synthetic and not imported
    return opened if fits else None
