"""Pixel work: blocks of images, or one CT volume, at a time; each file is decoded once for all stores and sizes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from mmtk.base import Progress
from mmtk.builder.clock import Clock
from mmtk.builder.journal import Journal
from mmtk.builder.plan import Plan, Planned
from mmtk.builder.recipe import Branch, Memory, branches, finish, make_image, make_slice, open_volume
from mmtk.datasets.base import SPLITS, Box, Cut
from mmtk.datasets.listing import Listing
from mmtk.datasets.steps import Pipeline, Recipe
from mmtk.errors import ImageError, StoreError
from mmtk.imaging import ImageFile, Volume
from mmtk.store import Layout, write_at

BLOCK = 16  # images in a unit: enough to make bookkeeping cheap, few enough to lose little when killed
_NOTE_SECONDS = 2.0  # how much work a kill may cost

Array = np.ndarray[Any, Any]
Place = tuple[int, str, int]  # number of a plan, split, row


@dataclass(frozen=True)
class Target:
    """One store being filled: whose plan it follows, its file, where rows go, and the size of its images."""

    plan: Plan
    path: Path
    layout: Layout
    size: int


@dataclass(frozen=True)
class Unit:
    """What is worked on at a time: all rows of one volume, or a block of rows of a split."""

    number: int
    rows: tuple[Place, ...]


@dataclass(frozen=True)
class Left:
    """Images that a build leaves out, by their names: bad ones with the reason, and slices that are blank."""

    bad: dict[str, str] = field(default_factory=dict)
    blank: set[str] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.bad or self.blank)

    def add(self, other: Left) -> None:
        self.bad.update(other.bad)
        self.blank.update(other.blank)


def units(plans: list[Plan]) -> list[Unit]:
    """Cut plans of one source into units, the same for every worker count."""
    if plans[0].pipeline.takes_volumes:
        volumes: dict[str, list[Place]] = {}
        for number, plan in enumerate(plans):
            for split in SPLITS:
                for row, planned in enumerate(plan.rows[split]):
                    volumes.setdefault(planned.record.file, []).append((number, split, row))
        return [Unit(number, tuple(volumes[name])) for number, name in enumerate(sorted(volumes))]
    blocks = [
        tuple((number, split, row) for row in range(start, min(start + BLOCK, len(plan.rows[split]))))
        for number, plan in enumerate(plans)
        for split in SPLITS
        for start in range(0, len(plan.rows[split]), BLOCK)
    ]
    return [Unit(number, block) for number, block in enumerate(blocks)]


def fill(
    plans: list[Plan],
    listing: Listing,
    targets: list[Target],
    journal: Journal,
    clock: Clock,
    *,
    workers: int,
    skip_bad: bool,
    progress: Progress | None,
) -> Left:
    """Do every unit the journal does not name as done.

    Returns
    -------
    Left
        What turned out bad or blank. Their rows are left empty and their units not noted as done: bad images may be
        mended by the time a killed build goes on.

    Raises
    ------
    ImageError
        For the first bad image, unless `skip_bad`.
    """
    todo = [unit for unit in units(plans) if unit.number not in journal.done]
    total = sum(sum(plan.counts.values()) for plan in plans)
    finished = total - sum(len(unit.rows) for unit in todo)
    with ExitStack() as stack:
        files = [os.open(target.path, os.O_RDWR) for target in targets]
        for file in files:
            stack.callback(os.close, file)
        pool = stack.enter_context(ThreadPoolExecutor(workers, "mmtk-build"))
        opened = list(zip(targets, files, strict=True))
        of_plan = [[(target, file) for target, file in opened if target.plan is plan] for plan in plans]
        writer = _Writer(plans, listing, of_plan, skip_bad, clock)
        of_volumes = plans[0].pipeline.takes_volumes
        answers = _volumes(pool, writer, todo) if of_volumes else _bounded(pool, writer.block, todo, 2 * workers)
        done: list[int] = []
        left = Left()

        def note() -> None:
            with clock("sync"):
                for file in files:
                    os.fsync(file)
                journal.note(done)
            done.clear()

        noted = time.monotonic()
        try:
            for unit, answer in answers:
                if not answer:
                    done.append(unit.number)
                left.add(answer)
                finished += len(unit.rows)
                if progress:
                    progress(finished, total)
                if time.monotonic() - noted > _NOTE_SECONDS:
                    note()
                    noted = time.monotonic()
        finally:
            writer.stopping = True
            if done:
                note()
    return left


@dataclass
class _Writer:
    """Makes the images of rows and puts them into all targets of their plan."""

    plans: list[Plan]
    listing: Listing
    targets: list[list[tuple[Target, int]]]  # of each plan, with the open file
    skip_bad: bool
    clock: Clock
    stopping: bool = False

    def __post_init__(self) -> None:
        self._ways: list[tuple[Branch, ...]] = []
        self._tails: list[dict[int, Recipe]] = []
        for plan, targets in zip(self.plans, self.targets, strict=True):
            ways = branches({target.size: plan.recipe(target.size) for target, _ in targets})
            self._ways.append(ways)
            self._tails.append({size: way.tail for way in ways for size in way.sizes})

    def planned(self, place: Place) -> Planned:
        number, split, row = place
        return self.plans[number].rows[split][row]

    def file(self, place: Place) -> ImageFile:
        return self.listing.path(self.planned(place).record.file)

    def block(self, unit: Unit) -> Left:
        """Do images of a file each."""

        def image(place: Place) -> dict[int, Array]:
            return make_image(self.file(place), self.planned(place).header, self._ways[place[0]], self.clock)

        return self._rows(unit.rows, image)

    def box(self, volume: Volume, places: tuple[Place, ...]) -> Left:
        """Do all slices of one organ's box."""
        memory: Memory = {}

        def image(place: Place) -> dict[int, Array]:
            plan = self.plans[place[0]]
            cut = cast(Cut, self.planned(place).record.cut)
            return make_slice(volume, cut, self._ways[place[0]], memory, self.clock, keep_blank=plan.keeps_blank)

        return self._rows(places, image)

    def refuse(self, places: tuple[Place, ...], error: ImageError) -> Left:
        """Leave out what cannot be read, or stop."""
        if not self.skip_bad:
            raise error
        return Left(bad={self.planned(place).record.source: str(error) for place in places})

    def _rows(self, places: tuple[Place, ...], pixels: Callable[[Place], dict[int, Array]]) -> Left:
        """Make the images of these rows and write those that lie one behind the other together."""
        left = Left()
        run: list[dict[int, Array]] = []
        start: Place = places[0]
        for place in places:
            if self.stopping:
                break
            if run and place != (*start[:2], start[2] + len(run)):
                self._write(start, run)
                run = []
            try:
                images = pixels(place)
            except ImageError as error:
                left.add(self.refuse((place,), error))
                continue
            if not images:
                left.blank.add(self.planned(place).record.source)
                continue
            if not run:
                start = place
            run.append(images)
            if len(run) == BLOCK:
                self._write(start, run)
                run = []
        if run:
            self._write(start, run)
        return left

    def _write(self, start: Place, run: list[dict[int, Array]]) -> None:
        number, split, row = start
        for target, file in self.targets[number]:
            stack = np.stack([images[target.size] for images in run])
            finish(stack, self._tails[number][target.size], self.clock)
            if stack.dtype != np.uint8 or stack[0].nbytes != target.layout.row_bytes:
                found = f"{stack.dtype} {stack.shape[1:]}"
                raise StoreError(target.path, expected=f"rows of {target.layout.row_bytes} bytes", found=found)
            with self.clock("write"):
                write_at(file, stack.data, target.layout.image_offset(split, row))


def _volumes(pool: ThreadPoolExecutor, writer: _Writer, todo: list[Unit]) -> Iterator[tuple[Unit, Left]]:
    """Volume by volume, one in memory at a time; its boxes are shared out."""
    asked = Pipeline(tuple(step for plan in writer.plans for step in plan.pipeline.steps))
    for unit in todo:
        left = Left()
        try:
            path = writer.file(unit.rows[0])
            with writer.clock("decode"):
                volume = open_volume(path, asked)
        except ImageError as error:
            left = writer.refuse(unit.rows, error)
        else:
            boxes: dict[Box, list[Place]] = {}
            for place in unit.rows:
                boxes.setdefault(cast(Cut, writer.planned(place).record.cut).box, []).append(place)
            # one organ alone is up to two thirds of a volume's work: begun last, it would leave the other workers idle
            largest_first = sorted(boxes, key=_voxels, reverse=True)
            for part in pool.map(partial(writer.box, volume), (tuple(boxes[box]) for box in largest_first)):
                left.add(part)
            del volume  # before the next one is read
        yield unit, left


def _voxels(box: Box) -> int:
    return (box[1] - box[0]) * (box[3] - box[2]) * (box[5] - box[4])


def _bounded(
    pool: ThreadPoolExecutor, work: Callable[[Unit], Left], todo: list[Unit], most: int
) -> Iterator[tuple[Unit, Left]]:
    """Results as they come, with no more than `most` units under way, so that memory stays flat."""
    queue = iter(todo)
    running: dict[Future[Left], Unit] = {}
    try:
        while True:
            while len(running) < most and (unit := next(queue, None)) is not None:
                running[pool.submit(work, unit)] = unit
            if not running:
                return
            ended, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                yield running.pop(future), future.result()
    finally:
        for future in running:
            future.cancel()
