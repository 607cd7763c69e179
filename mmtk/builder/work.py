"""Pixel work: blocks of images on a pool of threads, each decoded once and written into the stores of all sizes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmtk.builder.journal import Journal
from mmtk.builder.plan import Plan, Planned
from mmtk.datasets.base import SPLITS, CenterCrop, Colour, Grey, Resize, RoundTrip
from mmtk.datasets.listing import Listing
from mmtk.errors import ImageError
from mmtk.imaging import read_image, resize, round_trip
from mmtk.store import Layout, write_at

BLOCK = 16  # images in a unit: enough to make bookkeeping cheap, few enough to lose little when killed
_NOTE_SECONDS = 2.0  # how much work a kill may cost

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Target:
    """One store being filled: its file, where rows go, and the size of its images."""

    path: Path
    layout: Layout
    size: int


@dataclass(frozen=True)
class Unit:
    """A block of rows of one split."""

    number: int
    split: str
    start: int
    stop: int


def units(plan: Plan) -> list[Unit]:
    """Cut a plan into units, the same for every worker count."""
    blocks = [
        (split, start, min(start + BLOCK, len(plan.rows[split])))
        for split in SPLITS
        for start in range(0, len(plan.rows[split]), BLOCK)
    ]
    return [Unit(number, *block) for number, block in enumerate(blocks)]


def pixels(row: Planned, plan: Plan, path: Path, sizes: tuple[int, ...]) -> list[np.ndarray[Any, Any]]:
    """Run the recipe on one image, for every size from one decode.

    Raises
    ------
    ImageError
        If the file cannot be decoded, or is no longer the one that was planned.
    """
    image = read_image(path, plan.colour)
    if image.shape[:2] != row.header[1:3]:
        found = f"{image.shape[1]} x {image.shape[0]}"
        planned = f"{row.header.width} x {row.header.height} pixels, as planned"
        raise ImageError(path, expected=planned, found=found, remedy="do not change sources while they are built")
    box = row.box(plan.cropped)
    region = None if box is None else (box.top, box.left, box.side, box.side)
    results = []
    for size in sizes:
        small = image
        for step in plan.dataset.recipe_for(plan.pixels):
            match step:
                case Grey() | Colour() | CenterCrop():
                    pass  # decoded so; the crop is the region that the resize reads
                case Resize(filter):
                    small = resize(image, (size, size), filter, region)
                case RoundTrip(format, quality):
                    small = round_trip(small, format, quality)
        results.append(small)
    return results


def fill(
    plan: Plan,
    listing: Listing,
    targets: list[Target],
    journal: Journal,
    *,
    workers: int,
    skip_bad: bool,
    progress: Progress | None,
) -> dict[str, str]:
    """Do every unit the journal does not name as done.

    Returns
    -------
    dict of str to str
        Bad images with the reason. Their rows are left empty and their units not noted as done: they may be mended by
        the time a killed build goes on.

    Raises
    ------
    ImageError
        For the first bad image, unless `skip_bad`.
    """
    todo = [unit for unit in units(plan) if unit.number not in journal.done]
    total = sum(plan.counts.values())
    finished = total - sum(unit.stop - unit.start for unit in todo)
    sizes = tuple(target.size for target in targets)
    with ExitStack() as stack:
        files = [os.open(target.path, os.O_RDWR) for target in targets]
        for file in files:
            stack.callback(os.close, file)
        pool = stack.enter_context(ThreadPoolExecutor(workers, "mmtk-build"))
        stopping: list[bool] = []

        def work(unit: Unit) -> dict[str, str]:
            bad: dict[str, str] = {}
            for number in range(unit.start, unit.stop):
                if stopping:
                    break
                row = plan.rows[unit.split][number]
                try:
                    images = pixels(row, plan, listing.path(row.record.file), sizes)
                except ImageError as error:
                    if not skip_bad:
                        raise
                    bad[row.record.source] = str(error)
                    continue
                for file, target, image in zip(files, targets, images, strict=True):
                    write_at(file, image.data, target.layout.image_offset(unit.split, number))
            return bad

        done: list[int] = []
        bad: dict[str, str] = {}

        def note() -> None:
            for file in files:
                os.fsync(file)
            journal.note(done)
            done.clear()

        noted = time.monotonic()
        try:
            for unit, answer in _bounded(pool, work, todo, 2 * workers):
                if not answer:
                    done.append(unit.number)
                bad.update(answer)
                finished += unit.stop - unit.start
                if progress:
                    progress(finished, total)
                if time.monotonic() - noted > _NOTE_SECONDS:
                    note()
                    noted = time.monotonic()
        finally:
            stopping.append(True)
            if done:
                note()
    return bad


def _bounded(
    pool: ThreadPoolExecutor, work: Callable[[Unit], dict[str, str]], todo: list[Unit], most: int
) -> Iterator[tuple[Unit, dict[str, str]]]:
    """Results as they come, with no more than `most` units under way, so that memory stays flat."""
    queue = iter(todo)
    running: dict[Future[dict[str, str]], Unit] = {}
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
