"""Units of work: done by threads or by other machines, written to the stores and noted in the journal by one writer."""

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
from mmtk.builder.pixels import BLOCK, Bad, Blank, Item, Maker, Piece, Place, Row, boxes
from mmtk.builder.plan import Plan, Planned
from mmtk.datasets.base import SPLITS
from mmtk.datasets.listing import Listing
from mmtk.errors import StoreError
from mmtk.imaging import Volume
from mmtk.store import Layout, write_at

_NOTE_SECONDS = 2.0  # how much work a kill may cost


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
    places: tuple[Place, ...]


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


Answers = Generator[tuple[Unit, Left], None, None]


class Crew(Protocol):
    """Who makes the pixels."""

    @property
    def workers(self) -> int:
        """How many units are worked on at a time."""

    def work(self, maker: Maker, writer: Writer, todo: list[Unit]) -> Answers:
        """Do units and give them to the writer; they come as they are written, with what of them is left out."""


def fill(
    plans: list[Plan],
    listing: Listing,
    targets: list[Target],
    journal: Journal,
    clock: Clock,
    *,
    crew: Crew,
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
    finished = total - sum(len(unit.places) for unit in todo)
    with ExitStack() as stack:
        files = [os.open(target.path, os.O_RDWR) for target in targets]
        for file in files:
            stack.callback(os.close, file)
        opened = list(zip(targets, files, strict=True))
        writer = Writer(plans, [[pair for pair in opened if pair[0].plan is plan] for plan in plans], skip_bad, clock)
        maker = Maker.of(plans, listing, writer.sizes)
        done: list[int] = []
        left = Left()

        def note() -> None:
            with clock("sync"):
                for file in files:
                    os.fsync(file)
                journal.note(done)
            done.clear()

        noted = time.monotonic()
        answers = stack.enter_context(closing(crew.work(maker, writer, todo)))
        try:
            for unit, answer in answers:
                if not answer:
                    done.append(unit.number)
                left.add(answer)
                finished += len(unit.places)
                if progress:
                    progress(finished, total)
                if time.monotonic() - noted > _NOTE_SECONDS:
                    note()
                    noted = time.monotonic()
        finally:
            if done:
                note()
    return left


@dataclass(frozen=True)
class Writer:
    """Puts the images of rows into all targets of their plan, each under the open file that goes with it."""

    plans: list[Plan]
    targets: list[list[tuple[Target, int]]]  # of each plan
    skip_bad: bool
    clock: Clock

    @property
    def sizes(self) -> list[list[int]]:
        """Of each plan, those of its targets."""
        return [[target.size for target, _ in targets] for targets in self.targets]

    def bytes_of(self, unit: Unit) -> int:
        """Of all its images."""
        return sum(target.layout.row_bytes for number, *_ in unit.places for target, _ in self.targets[number])

    def rows(self, unit: Unit) -> list[Row]:
        """What is planned of a unit."""
        return [(place, self._planned(place)) for place in unit.places]

    def put(self, items: Iterable[Item]) -> Left:
        """Write images as they are made.

        Returns
        -------
        Left
            What of these rows is bad or blank.

        Raises
        ------
        ImageError
            For the first that is bad, unless bad ones are to be skipped.
        """
        left = Left()
        for item in items:
            match item:
                case Piece():
                    self._write(item)
                case Bad(places, error):
                    if not self.skip_bad:
                        raise error
                    left.bad.update((self._planned(place).record.source, str(error)) for place in places)
                case Blank(place):
                    left.blank.add(self._planned(place).record.source)
        return left

    def _planned(self, place: Place) -> Planned:
        number, split, row = place
        return self.plans[number].rows[split][row]

    def _write(self, piece: Piece) -> None:
        number, split, row = piece.start
        for target, file in self.targets[number]:
            stack = piece.images[target.size]
            if stack.dtype != np.uint8 or stack[0].nbytes != target.layout.row_bytes:
                found = f"{stack.dtype} {stack.shape[1:]}"
                raise StoreError(target.path, expected=f"rows of {target.layout.row_bytes} bytes", found=found)
            with self.clock("write"):
                write_at(file, stack.data, target.layout.image_offset(split, row))


@dataclass(frozen=True)
class Threads:
    """Threads of this process; each writes what it has made."""

    workers: int

    def work(self, maker: Maker, writer: Writer, todo: list[Unit]) -> Answers:
        stopping = False

        def going(rows: list[Row]) -> Iterator[Row]:
            return takewhile(lambda _: not stopping, rows)

        def block(unit: Unit) -> Left:
            return writer.put(maker.block(going(writer.rows(unit)), writer.clock))

        def box(volume: Volume, rows: list[Row]) -> Left:
            return writer.put(maker.box(volume, going(rows), writer.clock))

        with ThreadPoolExecutor(self.workers, "mmtk-build") as pool:
            try:
                if maker.asked.takes_volumes:
                    yield from _volumes(pool, maker, writer, box, todo)
                else:
                    yield from _bounded(pool, block, todo, 2 * self.workers)
            finally:
                stopping = True


def _volumes(
    pool: ThreadPoolExecutor, maker: Maker, writer: Writer, box: Callable[[Volume, list[Row]], Left], todo: list[Unit]
) -> Iterator[tuple[Unit, Left]]:
    """Volume by volume, one in memory at a time; its boxes are shared out."""
    for unit in todo:
        rows = writer.rows(unit)
        volume = maker.open(rows, writer.clock)
        left = Left()
        if isinstance(volume, Bad):
            left = writer.put([volume])
        else:
            for part in pool.map(partial(box, volume), boxes(rows)):
                left.add(part)
        del volume  # before the next one is read
        yield unit, left


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
