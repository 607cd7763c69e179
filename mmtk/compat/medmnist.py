"""The interface of the package ``medmnist`` on stores, for the ten datasets of the Decathlon.

Change ``import medmnist`` to ``import mmtk.compat.medmnist as medmnist``; or leave a script as it is and run it by
``python -m mmtk.compat.medmnist script.py``, which puts this module in the place of ``medmnist`` and its submodules.

A dataset is read from ``{flag}_{size}.h5`` in its root, memory-mapped whatever `mmap_mode` says; an official ``.npz``
that lies there is imported first (where the root cannot be written, into this user's cache folder or a temporary one),
and `download` fetches it as ``mmtk fetch`` does. What ``medmnist`` raises is raised
here too: RuntimeError where the data is not there, ValueError for an unknown split. Unlike there, a store may be a part
of a dataset, and it opens anew in the worker processes of a DataLoader.
"""

from __future__ import annotations

import math
import os
import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmtk import store
from mmtk.compat._imported import imported
from mmtk.datasets import get_dataset
from mmtk.datasets.base import SPLITS, Task
from mmtk.datasets.official import LATEST, RECORDS, SIZES, SPLIT_WORDS, size_suffix, sized_name
from mmtk.errors import MmtkError
from mmtk.scoring import evaluate
from mmtk.scoring.predictions import read_predictions, result_name

__version__ = "3.0.2"  # of medmnist, whose interface this is
HOMEPAGE = "https://github.com/MedMNIST/MedMNIST/"
try:
    DEFAULT_ROOT: str | None = str(Path("~/.medmnist").expanduser())
except RuntimeError:  # neither HOME nor an entry for this user, as in containers and services
    DEFAULT_ROOT = None
SPLIT_DICT = dict(SPLIT_WORDS)
_MODULES = ("info", "dataset", "evaluator", "utils")  # of medmnist, all of them this one here
info = dataset = evaluator = utils = sys.modules[__name__]


def _image_module() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise _missing("pillow", "medmnist") from None
    return Image


def _missing(package: str, extra: str) -> MmtkError:
    remedy = f"pip install 'mmtk[{extra}]'"
    return MmtkError("mmtk.compat.medmnist", expected=f"the package {package}", found="not installed", remedy=remedy)


def _open(flag: str, size: int, root: str | os.PathLike[str] | None, download: bool) -> store.Store:
    """The store of a dataset in a folder, imported from the official file if need be."""
    if root is None or (root != DEFAULT_ROOT and not os.path.isdir(root)):
        raise RuntimeError(
            "Failed to setup the default `root` directory. Please specify and create the `root` directory manually."
        )
    folder = Path(root)
    path, npz = store.store_path(folder, flag, size), folder / f"{sized_name(flag, size)}.npz"
    try:
        if not path.exists():
            if download and not npz.exists():
                store.fetch_npz(flag, folder, size=size)
            if npz.exists():
                return imported(npz)
        if path.exists():
            return store.open(path)
    except (MmtkError, OSError) as error:
        raise RuntimeError(str(error)) from error
    raise RuntimeError(f"Dataset not found: no {path.name} or {npz.name} in {folder}. "
                       "You can set `download=True` to download it")


class MedMNIST2D:
    """One split of a dataset as ``(PIL image, label)`` items; subclasses name the dataset.

    Parameters
    ----------
    split : {"train", "val", "test"}
    transform, target_transform : callable, optional
        Of the PIL image, and of the label, an array of ints.
    download : bool
        Fetch the official file if it is not there.
    as_rgb : bool
        Convert grey images to RGB.
    root : path
        Folder of stores or official files.
    size : int, optional
        28, 64, 128 or 224; 28 by default.
    mmap_mode : str, optional
        Taken for the sake of scripts; images are mapped in any case.
    """

    flag = ""
    available_sizes: ClassVar[list[int]] = list(SIZES)

    def __init__(
        self, split: str, transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None, download: bool = False, as_rgb: bool = False,
        root: str | os.PathLike[str] | None = DEFAULT_ROOT, size: int | None = None, mmap_mode: str | None = None,
    ) -> None:
        if split not in SPLITS:
            raise ValueError(f"split: expected {', '.join(SPLITS)}, found {split!r}")
        self.size = SIZES[0] if size is None else size
        if self.size not in self.available_sizes:
            raise AssertionError(f"size: expected one of {self.available_sizes}, found {size}")
        self.size_flag = size_suffix(self.size)
        self.info = INFO[self.flag]
        self.root, self.split = root, split
        self.transform, self.target_transform, self.as_rgb = transform, target_transform, as_rgb
        self._read(download)

    def _read(self, download: bool = False) -> None:
        self._split: store.Split = getattr(_open(self.flag, self.size, self.root, download), self.split)
        self.imgs, self.labels = self._split.images, self._split.labels

    def __getstate__(self) -> dict[str, Any]:
        own = {"imgs": self._split.images, "labels": self._split.labels}  # which come with the split
        return {name: value for name, value in self.__dict__.items() if value is not own.get(name, own)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update({"imgs": state["_split"].images, "labels": state["_split"].labels} | state)

    def __len__(self) -> int:
        return len(self.labels)

    def __add__(self, other: Any) -> Any:
        try:
            from torch.utils.data import ConcatDataset
        except ImportError:
            raise _missing("torch", "train") from None
        return ConcatDataset([self, other])

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image, target = _image_module().fromarray(self.imgs[index]), self.labels[index].astype(int)
        if self.as_rgb:
            image = image.convert("RGB")
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return image, target

    def __repr__(self) -> str:
        facts = {
            "Number of datapoints": len(self), "Root location": self.root, "Split": self.split,
            "Task": self.info["task"], "Number of channels": self.info["n_channels"],
            "Meaning of labels": self.info["label"], "Number of samples": self.info["n_samples"],
            "Description": self.info["description"], "License": self.info["license"],
        }
        head = f"Dataset {type(self).__name__} of size {self.size} ({self.flag}{self.size_flag})"
        return "\n".join([head, *(f"    {name}: {value}" for name, value in facts.items())])

    def save(self, folder: str | os.PathLike[str], postfix: str = "png", write_csv: bool = True) -> None:
        """Write each image as a file, ``{split}{row}_{labels}.{postfix}``, and add a line each to one CSV."""
        pictures = _image_module()
        target = Path(folder) / f"{self.flag}{self.size_flag}"
        target.mkdir(parents=True, exist_ok=True)
        lines = []
        for row, (image, label) in enumerate(zip(self.imgs, self.labels, strict=True)):
            name = f"{self.split}{row}_{'_'.join(map(str, label))}.{postfix}"
            pictures.fromarray(image).save(target / name)
            lines.append(f"{SPLIT_DICT[self.split]},{name},{','.join(map(str, label))}\n")
        if write_csv:
            with target.with_name(f"{target.name}.csv").open("a") as csv:
                csv.writelines(lines)

    def montage(
        self, length: int = 20, replace: bool = False, save_folder: str | os.PathLike[str] | None = None
    ) -> Any:
        """A square of `length` times `length` images, drawn by NumPy's global generator, as a PIL image."""
        chosen = np.random.choice(len(self), size=length * length, replace=replace)  # noqa: NPY002 - as medmnist does
        picture = montage2d(self.imgs, self.info["n_channels"], chosen)
        if save_folder is not None:
            Path(save_folder).mkdir(parents=True, exist_ok=True)
            picture.save(Path(save_folder) / f"{self.flag}{self.size_flag}_{self.split}_montage.jpg")
        return picture


MedMNIST = MedMNIST2D


def montage2d(imgs: Any, n_channels: int, sel: NDArray[np.int64]) -> Any:
    """Chosen images side by side in a square, as a PIL image."""
    pictures = _image_module()
    chosen = imgs[np.asarray(sel)]
    edge = math.ceil(math.sqrt(len(chosen)))
    height, width = chosen.shape[1:3]
    page = np.zeros((edge * edge, *chosen.shape[1:]), np.uint8)
    page[: len(chosen)] = chosen
    rows = page.reshape(edge, edge, height, width, -1).transpose(0, 2, 1, 3, 4)
    whole = rows.reshape(edge * height, edge * width, -1)
    return pictures.fromarray(whole if n_channels == 3 else whole[:, :, 0])


def _class_of(name: str) -> type[MedMNIST2D]:
    """The class of a dataset, whose flag is the class's name in lower case."""
    return type(name, (MedMNIST2D,), {"__module__": __name__, "flag": name.lower()})


PathMNIST, ChestMNIST, DermaMNIST = map(_class_of, ("PathMNIST", "ChestMNIST", "DermaMNIST"))
OCTMNIST, PneumoniaMNIST, RetinaMNIST = map(_class_of, ("OCTMNIST", "PneumoniaMNIST", "RetinaMNIST"))
BreastMNIST, OrganAMNIST = map(_class_of, ("BreastMNIST", "OrganAMNIST"))
OrganCMNIST, OrganSMNIST = map(_class_of, ("OrganCMNIST", "OrganSMNIST"))
OrganMNISTAxial, OrganMNISTCoronal, OrganMNISTSagittal = OrganAMNIST, OrganCMNIST, OrganSMNIST


def _info(kind: type[MedMNIST2D]) -> dict[str, Any]:
    """A dataset as medmnist's ``INFO`` describes it."""
    dataset, files = get_dataset(kind.flag), {}
    for size in SIZES:
        files[f"url{size_suffix(size)}"] = f"{RECORDS[LATEST]}/{sized_name(dataset.flag, size)}.npz?download=1"
        files[f"MD5{size_suffix(size)}"] = dataset.md5[f"{LATEST}:{size}"]
    counts = dataset.counts[LATEST]
    return {
        "python_class": kind.__name__,
        "description": f"{dataset.title}: {dataset.modality}, from {dataset.source.citation}.",
        **files,
        "task": dataset.task.value,
        "label": {str(number): name for number, name in enumerate(dataset.classes)},
        "n_channels": dataset.channels,
        "n_samples": {split: getattr(counts, split) for split in SPLITS},
        "license": dataset.source.licence,
    }


INFO = {kind.flag: _info(kind) for kind in MedMNIST2D.__subclasses__()}


# --------------------------------------------------------------------------- evaluator


class Metrics(NamedTuple):
    """Area under the ROC curve and accuracy."""

    AUC: float
    ACC: float


def getAUC(y_true: ArrayLike, y_score: ArrayLike, task: str) -> float:
    """Area under the ROC curve, as `mmtk.evaluate` computes it."""
    return evaluate(_table(y_true), np.asarray(y_score).squeeze(), task).auc


def getACC(y_true: ArrayLike, y_score: ArrayLike, task: str) -> float:
    """Accuracy at a threshold of 0.5, as `mmtk.evaluate` computes it."""
    return evaluate(_table(y_true), np.asarray(y_score).squeeze(), task).acc


def _table(labels: ArrayLike) -> NDArray[Any]:
    values = np.asarray(labels)
    return values[:, None] if values.ndim == 1 else values


class Evaluator:
    """Scores of a split against its labels."""

    def __init__(
        self, flag: str, split: str, size: int | None = None, root: str | os.PathLike[str] | None = DEFAULT_ROOT
    ) -> None:
        if split not in SPLITS:
            raise ValueError(f"split: expected {', '.join(SPLITS)}, found {split!r}")
        self.flag, self.split, self.root = flag, split, root
        self.size = SIZES[0] if size is None else int(size)
        self.size_flag = size_suffix(self.size)
        self.info = INFO[flag]
        self.labels = getattr(_open(flag, self.size, root, False), split).labels

    def evaluate(
        self, y_score: ArrayLike, save_folder: str | os.PathLike[str] | None = None, run: str | None = None
    ) -> Metrics:
        """AUC and ACC; the scores are written as a result file if a folder is given."""
        scores = np.asarray(y_score)
        if len(scores) != len(self.labels):
            raise AssertionError(f"scores: expected {len(self.labels)} rows, found {len(scores)}")
        metrics = Metrics(*evaluate(self.labels, scores, self.info["task"]))
        if save_folder is not None:
            table = scores[:, None] if scores.ndim == 1 else scores
            lines = [",".join([str(row), *map(str, line)]) for row, line in enumerate(table)]
            path = Path(save_folder) / self.get_standard_evaluation_filename(metrics, run)
            path.write_text("\n".join(lines) + "\n")
        return metrics

    def get_standard_evaluation_filename(self, metrics: tuple[float, float], run: str | None = None) -> str:
        """The name of a result file."""
        from mmtk.scoring import Metrics as Ours

        return result_name(self.flag, self.size, self.split, Ours(*metrics), str(time.time() if run is None else run))

    def get_dummy_prediction(self) -> NDArray[np.float64]:
        """Random scores of the right shape."""
        several = self.info["task"] in (Task.MULTICLASS, Task.ORDINAL)
        columns = len(self.info["label"]) if several else self.labels.shape[1]
        dummy = np.random.default_rng().random((len(self.labels), columns))
        return dummy / dummy.sum(axis=-1, keepdims=True) if several else dummy

    @classmethod
    def parse_and_evaluate(
        cls, path: str | os.PathLike[str], run: str | None = None, root: str | os.PathLike[str] | None = DEFAULT_ROOT
    ) -> Metrics:
        """Score a result file, by its name; the scores are written again with the figures in the name."""
        found = read_predictions(Path(path))
        if run is None and not found.run:
            raise AssertionError(f"{path}: expected a run after @ in its name, found none")
        flag = get_dataset(found.flag).flag
        metrics = cls(flag, found.split, found.size, root).evaluate(found.scores, Path(path).parent, run or found.run)
        print(metrics)
        return metrics


def install() -> None:
    """Let ``import medmnist``, and its submodules, mean this module in this process."""
    this = sys.modules[__name__]
    for name in ("medmnist", *(f"medmnist.{part}" for part in _MODULES)):
        sys.modules[name] = this


def main() -> None:
    """Run a script with this module in the place of medmnist."""
    if len(sys.argv) < 2:
        sys.exit("usage: python -m mmtk.compat.medmnist SCRIPT [ARGUMENT...]")
    from mmtk.compat import medmnist  # the module itself, not the one that runs as __main__

    medmnist.install()
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
