"""Memory of a process that iterates a store of 13.5 GB: ``python benchmarks/loader_memory.py FOLDER``.

The store has PathMNIST-224's shape (89,996 training images of 224 x 224 RGB) and black pixels; its file is removed in
the end. It is iterated twice, shuffled, by several processes at once. Printed are the anonymous bytes by which each
process grew since before it opened the store, and what of the mapping the processes share.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from pathlib import Path

import numpy as np

from mmtk import store
from mmtk.loader import Batches
from mmtk.store import create_skeleton
from tests.small_stores import small_info

ROWS = 89_996
PROCESSES = 2


def make(path: Path) -> None:
    info = small_info("pathmnist", channels=3, size=224, classes=9, task="multi-class")
    counts = {"train": ROWS, "val": 1, "test": 1}
    labels = {name: (np.arange(n) % 9).astype(np.uint8)[:, None] for name, n in counts.items()}
    records = {name: np.zeros(n, store.record_dtype(1, 1)) for name, n in counts.items()}
    layout = create_skeleton(path, info, labels, records)
    with path.open("r+b") as file:
        store.write_at(file.fileno(), b"\x01", layout.complete)


def memory(field: str) -> int:
    """Bytes of a line of smaps_rollup."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def iterate(path: Path, barrier, say) -> None:
    import torch

    torch.set_num_threads(1)
    torch.zeros(1)
    before, started = memory("Anonymous"), time.perf_counter()
    batches = Batches(store.open(path).train, 128, shuffle=True)
    seen, most = 0, 0
    for _ in range(2):
        for number, (images, _) in enumerate(batches):
            seen += len(images)
            if not number % 50:
                most = max(most, memory("Anonymous"))
    seconds = time.perf_counter() - started
    barrier.wait()
    after = max(most, memory("Anonymous"))
    shared, private = memory("Shared_Clean"), memory("Private_Clean")
    say.put((seen, seconds, after - before, shared, private))
    barrier.wait()


def main(folder: Path) -> None:
    path = folder / "pathmnist_224.h5"
    folder.mkdir(parents=True, exist_ok=True)
    make(path)
    size = path.stat().st_size
    print(f"{path.name}, {size / 1e9:.1f} GB, {ROWS:,} images, iterated twice by each of {PROCESSES} processes:")
    context = multiprocessing.get_context("spawn")
    barrier, say = context.Barrier(PROCESSES), context.Queue()
    workers = [context.Process(target=iterate, args=(path, barrier, say)) for _ in range(PROCESSES)]
    for worker in workers:
        worker.start()
    for _ in workers:
        seen, seconds, grown, shared, private = say.get()
        print(f"  {seen:,} images in {seconds:.0f} s: Anonymous grew by {grown / 1e6:.1f} MB; "
              f"of the mapping {shared / 1e9:.2f} GB shared, {private / 1e9:.2f} GB private")
    for worker in workers:
        worker.join()
    path.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
