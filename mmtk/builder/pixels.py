"""The pixels of planned rows: made from raw files, here or on another machine, whoever keeps them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, cast

import numpy as np

from mmtk.builder.clock import Clock
from mmtk.builder.plan import Plan, Planned
from mmtk.builder.recipe import Branch, Memory, branches, finish, make_image, make_slice, open_volume
from mmtk.datasets.base import Box, Cut
from mmtk.datasets.listing import Listing
from mmtk.datasets.steps import Pipeline
from mmtk.errors import ImageError
from mmtk.imaging import ImageFile, Volume

BLOCK = 16  # images that are made before they are written

Array = np.ndarray[Any, Any]
Place = tuple[int, str, int]  # number of a plan, split, row
Row = tuple[Place, Planned]


@dataclass(frozen=True)
class Piece:
    """Images of rows that lie one behind the other: of each size an array ``(n, size, size[, 3])`` of uint8."""

    start: Place
    images: dict[int, Array]


@dataclass(frozen=True)
class Bad:
    """Rows of a file that cannot be used, and why."""

    places: tuple[Place, ...]
    error: ImageError


@dataclass(frozen=True)
class Blank:
    """A row whose slice is of one grey level, where that is no image."""

    place: Place


Item = Piece | Bad | Blank


@dataclass(frozen=True)
class Maker:
    """Makes pixels by the recipes of some plans; it holds none of their rows, so that it is small when pickled.

    Attributes
    ----------
    listing : where the files are, without their names
    asked : what the recipes ask of the source
    ways : of each plan, its sizes by their recipes
    keeps_blank : of each plan
    """

    listing: Listing
    asked: Pipeline
    ways: tuple[tuple[Branch, ...], ...]
    keeps_blank: tuple[bool, ...]

    @classmethod
    def of(cls, plans: Sequence[Plan], listing: Listing, sizes: Sequence[Iterable[int]]) -> Maker:
        """Of plans from one source, each with the sizes that are wanted of it."""
        return cls(
            replace(listing, names=()),
            Pipeline(tuple(step for plan in plans for step in plan.pipeline.steps)),
            tuple(
                branches({size: plan.recipe(size) for size in wanted})
                for plan, wanted in zip(plans, sizes, strict=True)
            ),
            tuple(plan.keeps_blank for plan in plans),
        )

    def file(self, row: Row) -> ImageFile:
        return self.listing.path(row[1].record.file)

    def unit(self, rows: Sequence[Row], clock: Clock) -> Iterator[Item]:
        """All of a unit, in the order of its rows or of its volume's boxes."""
        if not self.asked.takes_volumes:
            return self.block(rows, clock)
        volume = self.open(rows, clock)
        if isinstance(volume, Bad):
            return iter((volume,))
        return chain.from_iterable(self.box(volume, part, clock) for part in boxes(rows))

    def block(self, rows: Iterable[Row], clock: Clock) -> Iterator[Item]:
        """Images of a file each."""

        def image(row: Row) -> dict[int, Array]:
            place, planned = row
            return make_image(self.file(row), planned.header, self.ways[place[0]], clock)

        return self._pieces(rows, image, clock)

    def open(self, rows: Sequence[Row], clock: Clock) -> Volume | Bad:
        """The volume that all these rows are of."""
        try:
            with clock("decode"):
                return open_volume(self.file(rows[0]), self.asked)
        except ImageError as error:
            return Bad(tuple(place for place, _ in rows), error)

    def box(self, volume: Volume, rows: Iterable[Row], clock: Clock) -> Iterator[Item]:
        """All slices of one organ's box."""
        memory: Memory = {}

        def image(row: Row) -> dict[int, Array]:
            (number, *_), planned = row
            cut, keep_blank = cast(Cut, planned.record.cut), self.keeps_blank[number]
            return make_slice(volume, cut, self.ways[number], memory, clock, keep_blank=keep_blank)

        return self._pieces(rows, image, clock)

    def _pieces(self, rows: Iterable[Row], pixels: Callable[[Row], dict[int, Array]], clock: Clock) -> Iterator[Item]:
        """Make the images of these rows one after the other; those that lie one behind the other come together."""
        run: list[dict[int, Array]] = []
        start: Place = (0, "", 0)
        for row in rows:
            place = row[0]
            if run and place != (*start[:2], start[2] + len(run)):
                yield self._piece(start, run, clock)
                run = []
            try:
                images = pixels(row)
            except ImageError as error:
                yield Bad((place,), error)
                continue
            if not images:
                yield Blank(place)
                continue
            if not run:
                start = place
            run.append(images)
            if len(run) == BLOCK:
                yield self._piece(start, run, clock)
                run = []
        if run:
            yield self._piece(start, run, clock)

    def _piece(self, start: Place, run: list[dict[int, Array]], clock: Clock) -> Piece:
        stacks = {}
        for way in self.ways[start[0]]:
            for size in way.sizes:
                stacks[size] = np.stack([images[size] for images in run])
                finish(stacks[size], way.tail, clock)
        return Piece(start, stacks)


def boxes(rows: Iterable[Row]) -> list[list[Row]]:
    """The rows of a volume by their boxes, the largest first.

    One organ alone is up to two thirds of a volume's work: begun last, it would leave the other workers idle.
    """
    of_box: dict[Box, list[Row]] = {}
    for row in rows:
        of_box.setdefault(cast(Cut, row[1].record.cut).box, []).append(row)
    return [of_box[box] for box in sorted(of_box, key=_voxels, reverse=True)]


def _voxels(box: Box) -> int:
    return (box[1] - box[0]) * (box[3] - box[2]) * (box[5] - box[4])
