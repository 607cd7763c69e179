"""Anonymous memory of a build: 200 against 2,000 Derma phantoms at 28 and 224 px. Linux only.

    python benchmarks/build_memory.py [FOLDER]

It must stay flat: the pixels go to the file as they come. Phantoms are kept in FOLDER, if given.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mmtk.phantom import write_phantom


def peak_of_a_build(sources: Path, out: Path) -> tuple[int, float]:
    """Images built, and the peak of RssAnon in MB, sampled every 5 ms."""
    arguments = ["build", "dermamnist", "--sources", sources, "--out", out, "--size", "28", "--size", "224"]
    process = subprocess.Popen([sys.executable, "-m", "mmtk", *map(str, arguments)], stdout=subprocess.PIPE, text=True)
    peak = 0
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            break
        found = re.search(r"RssAnon:\s+(\d+) kB", status)
        peak = max(peak, int(found[1]) if found else 0)
        time.sleep(0.005)
    printed = process.communicate()[0]
    if process.returncode:
        sys.exit(f"the build failed: {printed}")
    return int(re.search(r"(\d+) images in", printed)[1]), peak / 1024


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(temporary)
        peaks = []
        for scale in (0.019, 0.2):
            sources = folder / f"sources_{scale}"
            write_phantom("dermamnist", sources, scale=scale)
            images, peak = peak_of_a_build(sources, Path(temporary) / f"stores_{scale}")
            peaks.append(peak)
            print(f"{images:5} images: peak of anonymous memory {peak:6.1f} MB", flush=True)
        print(f"difference {peaks[1] - peaks[0]:+.1f} MB")


if __name__ == "__main__":
    main()
