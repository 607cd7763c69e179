"""Windows, stood in for by a process without what only POSIX systems have: it reads, and says why it does not write."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from mmtk import store
from tests.commands import invoke, run_python
from tests.small_stores import write_small_store

_LACKS = """
import mmap, os, sys
import cv2, h5py, numba, numpy, scipy.ndimage, sklearn.metrics  # which know Windows, and would be led astray
for name in ("pread preadv pwrite pwritev posix_fallocate sched_getaffinity fork forkpty killpg wait4 getuid geteuid "
             "uname O_NOFOLLOW O_CLOEXEC O_DIRECTORY O_NONBLOCK register_at_fork").split():
    if hasattr(os, name):
        delattr(os, name)
for name in ("MAP_PRIVATE", "MAP_SHARED", "PROT_READ", "PROT_WRITE"):
    delattr(mmap, name)
for name in ("fcntl", "resource", "pwd", "grp", "termios", "mmtk._native"):
    sys.modules[name] = None
"""


def _run(code: str, *arguments: object) -> str:
    return run_python("-c", _LACKS + code, *arguments, code=0).stdout


def test_stores_are_read_verified_and_scored(tmp_path: Path) -> None:
    path = write_small_store(tmp_path / "breastmnist_8.h5", size=64)
    told = _run(
        """
import json
import mmtk
from mmtk import store
opened = mmtk.open(sys.argv[1])
split = opened.train
scores = numpy.eye(2)[split.labels[:, 0]]
auc = mmtk.evaluate(split.labels, scores, "binary-class").auc
print(json.dumps([store.verify(sys.argv[1]), int(split.images.sum()), auc]))
""",
        path,
    )
    assert json.loads(told) == [[], int(store.open(path).train.images.sum()), 1.0]


def test_images_are_read_and_resized_to_the_same_bits(tmp_path: Path) -> None:
    from mmtk import imaging

    image = np.random.default_rng(0).integers(0, 256, (300, 200), np.uint8)
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), image)
    told = _run(
        """
from pathlib import Path
from mmtk import imaging
path = Path(sys.argv[1])
small = imaging.resize(imaging.read_image(path, colour=False), (28, 28))
print(imaging.probe(path).width, int(small.astype(int).sum()))
""",
        path,
    )
    assert told.split() == ["200", str(int(imaging.resize(image, (28, 28)).astype(int).sum()))]


def test_writing_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = write_small_store(tmp_path / "breastmnist_8.h5")
    invoke("phantom", "breastmnist", "--out", tmp_path, "--scale", "0.02")
    for words in (["export", path, "--to", "npz", "--out", tmp_path / "out"],
                  ["build", "breastmnist", "--sources", tmp_path, "--out", tmp_path / "out", "--allow-partial"]):
        code = "sys.argv[0] = 'mmtk'\nfrom mmtk.cli import main\nmain()\n"
        done = run_python("-c", _LACKS + code, *words, code=2)
        (line,) = done.stderr.splitlines()
        assert "file locks" in line
        assert "WSL" in line
        assert not list(tmp_path.glob("out/*"))
