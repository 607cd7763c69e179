"""Units of work: processed by threads or other machines, written to the stores and recorded in the journal."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Protocol

import numpy as np

from mmtk.base import Progress
from mmtk.builder.clock import Clock
from mmtk.builder.journal import Journal
from mmtk.builder.pixels import BLOCK, BadRows, BlankRow, ImageBlock, Outcome, Place, Processor, Row, boxes
from mmtk.builder.plan import Plan, PlannedRow
from mmtk.datasets.base import SPLITS
from mmtk.datasets.listing import Listing
from mmtk.errors import StoreError
from mmtk.imaging import Volume
from mmtk.store import Layout, write_at

_NOTE_SECONDS = 2.0  # of work that a kill may lose


@dataclass(frozen=True)
class Target:
    """A store being filled: its plan, file, layout and the size of its images."""

    plan: Plan
    path: Path
    layout: Layout
    size: int


@dataclass(frozen=True)
class Unit:
    """The unit of work: all rows of a volume, or a block of rows of a split."""

    number: int
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Excluded:
    """Images that a build excludes, by source: bad ones with the reason, and blank slices."""

    bad: dict[str, str] = field(default_factory=dict)
    blank: set[str] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.bad or self.blank)

    def add(self, other: Excluded) -> None:
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


UnitOutcomes = Generator[tuple[Unit, Excluded], None, None]


class Executor(Protocol):
    """Makes pixels, in parallel."""

    @property
    def workers(self) -> int:
        """Number of units processed at a time."""

    def work(self, processor: Processor, writer: Writer, todo: list[Unit]) -> UnitOutcomes:
        """Process units and pass them to the writer; yields each unit once written, with its excluded images."""


def fill(
    plans: list[Plan],
    listing: Listing,
    targets: list[Target],
    journal: Journal,
    clock: Clock,
    *,
    executor: Executor,
    skip_bad: bool,
    progress: Progress | None,
) -> Excluded:
    """Process every unit that the journal does not list as done.

    Returns
    -------
    Excluded
        Images that turned out bad or blank. Their rows stay empty and their units are not recorded as done: bad images
        may be fixed before a killed build resumes.

    Raises
    ------
    ImageError
        For the first bad image, unless `skip_bad`.
    """
    todo = [unit for unit in units(plans) if unit.number not in journal.done]
    total = sum(sum(plan.counts.values()) for plan in plans)
    finished = total - sum(len(unit.places) for unit in todo)
    with ExitStack() as stack:
        files = [os.open(target.path, os.O_RDWR) for target in targets]
        for file in files:
            stack.callback(os.close, file)
        opened = list(zip(targets, files, strict=True))
        writer = Writer(plans, [[pair for pair in opened if pair[0].plan is plan] for plan in plans], skip_bad, clock)
        processor = Processor.of(plans, listing, writer.sizes)
        done: list[int] = []
        excluded = Excluded()

        def note() -> None:
            with clock("sync"):
                for file in files:
                    os.fsync(file)
                journal.note(done)
            done.clear()

        noted = time.monotonic()
        outcomes = stack.enter_context(closing(executor.work(processor, writer, todo)))
        try:
            for unit, exclusions in outcomes:
                if not exclusions:
                    done.append(unit.number)
                excluded.add(exclusions)
                finished += len(unit.places)
                if progress:
                    progress(finished, total)
                if time.monotonic() - noted > _NOTE_SECONDS:
                    note()
                    noted = time.monotonic()
        finally:
            if done:
                note()
    return excluded


@dataclass(frozen=True)
class Writer:
    """Writes the images of rows into all targets of their plan."""

    plans: list[Plan]
    targets: list[list[tuple[Target, int]]]  # for each plan, targets with their open files
    skip_bad: bool
    clock: Clock

    @property
    def sizes(self) -> list[list[int]]:
        """The sizes of each plan's targets."""
        return [[target.size for target, _ in targets] for targets in self.targets]

    def bytes_of(self, unit: Unit) -> int:
        """Bytes of all images of a unit."""
        return sum(target.layout.row_bytes for number, *_ in unit.places for target, _ in self.targets[number])

    def rows(self, unit: Unit) -> list[Row]:
        """The planned rows of a unit."""
        return [(place, self._planned(place)) for place in unit.places]

    def put(self, outcomes: Iterable[Outcome]) -> Excluded:
        """Write images as they are made.

        Returns
        -------
        Excluded
            Bad and blank images among them.

        Raises
        ------
        ImageError
            For the first bad image, unless bad images are skipped.
        """
        excluded = Excluded()
        for outcome in outcomes:
            match outcome:
                case ImageBlock():
                    self._write(outcome)
                case BadRows(places, error):
                    if not self.skip_bad:
                        raise error
                    excluded.bad.update((self._planned(place).record.source, str(error)) for place in places)
                case BlankRow(place):
                    excluded.blank.add(self._planned(place).record.source)
        return excluded

    def _planned(self, place: Place) -> PlannedRow:
        number, split, row = place
        return self.plans[number].rows[split][row]

    def _write(self, block: ImageBlock) -> None:
        number, split, row = block.start
        for target, file in self.targets[number]:
            stack = block.images[target.size]
            if stack.dtype != np.uint8 or stack[0].nbytes != target.layout.row_bytes:
                problem = "images have the wrong size"
                expected, actual = f"{target.layout.row_bytes} bytes", f"{stack.dtype} {stack.shape[1:]}"
                raise StoreError(target.path, problem, expected=expected, found=actual)
            with self.clock("write"):
                write_at(file, stack.data, target.layout.image_offset(split, row))


@dataclass(frozen=True)
class ThreadExecutor:
    """Threads of this process; each writes its own images."""

    workers: int

    def work(self, processor: Processor, writer: Writer, todo: list[Unit]) -> UnitOutcomes:
        stopping = False

        def until_stopped(rows: list[Row]) -> Iterator[Row]:
            return takewhile(lambda _: not stopping, rows)

        def block(unit: Unit) -> Excluded:
            return writer.put(processor.block(until_stopped(writer.rows(unit)), writer.clock))

        def box(volume: Volume, rows: list[Row]) -> Excluded:
            return writer.put(processor.box(volume, until_stopped(rows), writer.clock))

        with ThreadPoolExecutor(self.workers, "mmtk-build") as pool:
            try:
                if processor.pipeline.takes_volumes:
                    yield from _volumes(pool, processor, writer, box, todo)
                else:
                    yield from _bounded(pool, block, todo, 2 * self.workers)
            finally:
                stopping = True


def _volumes(
    pool: ThreadPoolExecutor, processor: Processor, writer: Writer, box: Callable[[Volume, list[Row]], Excluded],
    todo: list[Unit],
) -> Iterator[tuple[Unit, Excluded]]:
    """Volume by volume, one in memory at a time; its boxes are distributed over the threads."""
    for unit in todo:
        rows = writer.rows(unit)
        volume = processor.open(rows, writer.clock)
        excluded = Excluded()
        if isinstance(volume, BadRows):
            excluded = writer.put([volume])
        else:
            for part in pool.map(partial(box, volume), boxes(rows)):
                excluded.add(part)
        del volume  # before the next one is read
        yield unit, excluded


def _bounded(
    pool: ThreadPoolExecutor, work: Callable[[Unit], Excluded], todo: list[Unit], most: int
) -> Iterator[tuple[Unit, Excluded]]:
    """Results in order of completion, with at most `most` units in flight, so that memory use stays flat."""
    queue = iter(todo)
    running: dict[Future[Excluded], Unit] = {}
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
