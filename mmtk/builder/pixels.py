"""Make the pixels of planned rows from raw files, in this process or on another machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, cast

import numpy as np

from mmtk.builder.clock import Clock
from mmtk.builder.plan import Plan, PlannedRow
from mmtk.builder.recipe import Branch, GridCache, branches, finish, make_image, make_slice, open_volume
from mmtk.datasets.base import Box, Cut
from mmtk.datasets.listing import Listing
from mmtk.datasets.pipelines import Pipeline
from mmtk.errors import ImageError
from mmtk.imaging import ImageFile, Volume

BLOCK = 16  # images made before they are written

Array = np.ndarray[Any, Any]
Place = tuple[int, str, int]  # number of a plan, split, row
Row = tuple[Place, PlannedRow]


@dataclass(frozen=True)
class ImageBlock:
    """Images of consecutive rows: for each size an array ``(n, size, size[, 3])`` uint8."""

    start: Place
    images: dict[int, Array]


@dataclass(frozen=True)
class BadRows:
    """Rows whose file cannot be used, and why."""

    places: tuple[Place, ...]
    error: ImageError


@dataclass(frozen=True)
class BlankRow:
    """A row whose slice has a single grey level, in an edition without such slices."""

    place: Place


Outcome = ImageBlock | BadRows | BlankRow


@dataclass(frozen=True)
class Processor:
    """Makes pixels by the recipes of several plans; it holds none of their rows, so it is small when pickled.

    Attributes
    ----------
    listing : where the files are, without their names
    pipeline : the steps of all recipes
    branches : for each plan, its sizes grouped by recipe
    keeps_blank : for each plan, whether blank slices are images
    """

    listing: Listing
    pipeline: Pipeline
    branches: tuple[tuple[Branch, ...], ...]
    keeps_blank: tuple[bool, ...]

    @classmethod
    def of(cls, plans: Sequence[Plan], listing: Listing, sizes: Sequence[Iterable[int]]) -> Processor:
        """The processor for plans of one source, each with the sizes to be made."""
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

    def unit(self, rows: Sequence[Row], clock: Clock) -> Iterator[Outcome]:
        """All images of a unit, in the order of its rows or of its volume's boxes."""
        if not self.pipeline.takes_volumes:
            return self.block(rows, clock)
        volume = self.open(rows, clock)
        if isinstance(volume, BadRows):
            return iter((volume,))
        return chain.from_iterable(self.box(volume, part, clock) for part in boxes(rows))

    def block(self, rows: Iterable[Row], clock: Clock) -> Iterator[Outcome]:
        """Images of rows that have a file each."""

        def image(row: Row) -> dict[int, Array]:
            place, planned = row
            return make_image(self.file(row), planned.header, self.branches[place[0]], clock)

        return self._image_blocks(rows, image, clock)

    def open(self, rows: Sequence[Row], clock: Clock) -> Volume | BadRows:
        """The volume that contains all these rows."""
        try:
            with clock("decode"):
                return open_volume(self.file(rows[0]), self.pipeline)
        except ImageError as error:
            return BadRows(tuple(place for place, _ in rows), error)

    def box(self, volume: Volume, rows: Iterable[Row], clock: Clock) -> Iterator[Outcome]:
        """All slices of one organ's box."""
        cache: GridCache = {}

        def image(row: Row) -> dict[int, Array]:
            (number, *_), planned = row
            cut, keep_blank = cast(Cut, planned.record.cut), self.keeps_blank[number]
            return make_slice(volume, cut, self.branches[number], cache, clock, keep_blank=keep_blank)

        return self._image_blocks(rows, image, clock)

    def _image_blocks(
        self, rows: Iterable[Row], pixels: Callable[[Row], dict[int, Array]], clock: Clock
    ) -> Iterator[Outcome]:
        """Make the images of these rows in order; those of consecutive rows are grouped into blocks."""
        run: list[dict[int, Array]] = []
        start: Place = (0, "", 0)
        for row in rows:
            place = row[0]
            if run and place != (*start[:2], start[2] + len(run)):
                yield self._image_block(start, run, clock)
                run = []
            try:
                images = pixels(row)
            except ImageError as error:
                yield BadRows((place,), error)
                continue
            if not images:
                yield BlankRow(place)
                continue
            if not run:
                start = place
            run.append(images)
            if len(run) == BLOCK:
                yield self._image_block(start, run, clock)
                run = []
        if run:
            yield self._image_block(start, run, clock)

    def _image_block(self, start: Place, run: list[dict[int, Array]], clock: Clock) -> ImageBlock:
        stacks = {}
        for branch in self.branches[start[0]]:
            for size in branch.sizes:
                stacks[size] = np.stack([images[size] for images in run])
                finish(stacks[size], branch.tail, clock)
        return ImageBlock(start, stacks)


def boxes(rows: Iterable[Row]) -> list[list[Row]]:
    """The rows of a volume by their boxes, the largest first.

    A single organ takes up to two thirds of a volume's work: started last, it would leave the other workers idle.
    """
    of_box: dict[Box, list[Row]] = {}
    for row in rows:
        of_box.setdefault(cast(Cut, row[1].record.cut).box, []).append(row)
    return [of_box[box] for box in sorted(of_box, key=_voxels, reverse=True)]


def _voxels(box: Box) -> int:
    return (box[1] - box[0]) * (box[3] - box[2]) * (box[5] - box[4])
