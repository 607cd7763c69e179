"""What a CT of 512 x 512 x 900 voxels costs in memory while the three Organ sets are built from it, plain and packed.

``python benchmarks/ct_memory.py`` writes the volume into a temporary folder and builds in a fresh process each.
"""

from __future__ import annotations

import gzip
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

SHAPE = (900, 512, 512)
BOXES = {
    "liver": (100, 300, 100, 350, 400, 600), "spleen": (330, 430, 200, 400, 450, 560),
    "heart": (180, 330, 80, 250, 620, 760), "bladder": (200, 310, 150, 260, 20, 120),
}
BUILD = """
import re, sys, threading, time
import mmtk, mmtk.builder, mmtk.imaging, cv2, h5py, numba
from mmtk.imaging import hu_window, resize
import numpy as np
resize(hu_window(np.zeros((40, 40), np.int16)), (28, 28))  # compiled before

def anonymous():
    return int(re.search(r"Anonymous:\\s+(\\d+)", open("/proc/self/smaps_rollup").read())[1]) / 1024

start, most, going = anonymous(), 0.0, True
def watch():
    global most
    while going:
        most = max(most, anonymous())
        time.sleep(0.01)
watcher = threading.Thread(target=watch)
watcher.start()
flags = ["organamnist", "organcmnist", "organsmnist"]
results = mmtk.build(flags, sources=sys.argv[1], out=sys.argv[2], sizes=(28, 224), allow_partial=True)
going = False
watcher.join()
images = sum(sum(result.counts.values()) for result in results)
print(f"{images} images; anonymous memory grew by {most - start:.0f} MiB")
"""


def nifti(voxels: np.ndarray) -> bytes:
    header = bytearray(352)
    header[0:4] = (348).to_bytes(4, "little")
    header[40:56] = np.array([3, *voxels.shape[::-1], 1, 1, 1, 1], "<i2").tobytes()
    header[70:74] = np.array([4, 16], "<i2").tobytes()
    header[108:120] = np.array([352, 1, 0], "<f4").tobytes()
    header[344:348] = b"n+1\0"
    return bytes(header) + voxels.tobytes()


def main() -> None:
    grain = np.random.default_rng(0).integers(-60, 180, (50, 512, 512), np.int16)
    content = nifti(np.concatenate([grain + 3 * i for i in range(SHAPE[0] // 50)]))
    print(f"the volume as int16: {(len(content) - 352) / 2**20:.0f} MiB")
    for name in ("volume-0.nii", "volume-0.nii.gz"):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            (folder / "in/annotations_on_LiTS").mkdir(parents=True)
            lines = (f"{organ} 1 {' '.join(map(str, box))}" for organ, box in BOXES.items())
            (folder / "in/annotations_on_LiTS/segmentation-0.txt").write_text("\n".join(lines))
            (folder / "in" / name).write_bytes(gzip.compress(content, 1) if name.endswith(".gz") else content)
            command = [sys.executable, "-c", BUILD, str(folder / "in"), str(folder / "out")]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            print(f"{name}: {done.stdout.strip()}")


if __name__ == "__main__":
    main()
