"""``medmnist.dataset``: a split of a dataset as items for PyTorch and others."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from mmtk.compat.medmnist import _files, utils
from mmtk.compat.medmnist.info import DEFAULT_ROOT, HOMEPAGE, INFO
from mmtk.compat.medmnist.utils import from_elsewhere, image_module
from mmtk.datasets.base import SPLITS
from mmtk.datasets.official import SIZES, size_suffix
from mmtk.loader import MapDataset

_ELSEWHERE = {"Image": ("PIL.Image", ""), "Dataset": ("torch.utils.data", "Dataset")}
__all__ = [
    "DEFAULT_ROOT", "HOMEPAGE", "INFO", "AdrenalMNIST3D", "BloodMNIST", "BreastMNIST", "ChestMNIST", "DermaMNIST",
    "FractureMNIST3D", "MedMNIST", "MedMNIST2D", "MedMNIST3D", "NoduleMNIST3D", "OCTMNIST", "OrganAMNIST",
    "OrganCMNIST", "OrganMNIST3D", "OrganMNISTAxial", "OrganMNISTCoronal", "OrganMNISTSagittal", "OrganSMNIST",
    "PathMNIST", "PneumoniaMNIST", "RetinaMNIST", "SynapseMNIST3D", "TissueMNIST", "VesselMNIST3D", "np", "os",
    *_ELSEWHERE,
]


def __getattr__(name: str) -> Any:
    return from_elsewhere(__name__, name, _ELSEWHERE)


def __dir__() -> list[str]:
    return sorted(__all__)


class _Computed:
    """An attribute that is computed unless it has been set."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        self._work = work

    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else self._work(instance)


class MedMNIST(MapDataset[Any]):
    """A split of a dataset; subclasses set `flag`, a key of `INFO`.

    Changes of `imgs`, `labels` and other attributes are kept when it is copied or pickled.

    Parameters
    ----------
    split : {"train", "val", "test"}
    transform, target_transform : callable, optional
        Called with the image, and with the label, an array of ints.
    download : bool
        Download the official file unless it is in the root.
    as_rgb : bool
        Give grey images three channels.
    root : path
        Folder of ``.npz`` files or stores.
    size : int, optional
        One of `available_sizes`; 28 by default.
    mmap_mode : str, optional
        Do not decompress a compressed store; other stores are memory-mapped in any case.

    Attributes
    ----------
    imgs : (n, h, w), (n, h, w, 3) or (n, d, h, w)
    labels : (n, l)
    targets : (n,) int, or for several labels per image the labels as they are
    classes : list of str

    Raises
    ------
    AssertionError
        If the size is not available.
    RuntimeError
        If the root or the file does not exist or cannot be downloaded, or a store cannot be opened.
    ValueError
        If the split is unknown.
    """

    flag: Any = ...
    available_sizes: ClassVar[list[int]] = []
    _origin: _files.Origin | None = None  # for subclasses that set their arrays without calling __init__

    def __init__(
        self, split: str, transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None, download: bool = False, as_rgb: bool = False,
        root: str | os.PathLike[str] | None = DEFAULT_ROOT, size: int | None = None, mmap_mode: str | None = None,
    ) -> None:
        self.size = SIZES[0] if size in (None, SIZES[0]) else size
        self.size_flag = size_suffix(self.size)
        if self.size_flag and self.size not in self.available_sizes:
            sizes = ", ".join(map(str, self.available_sizes))
            raise AssertionError(f"size: found {size}, expected one of {sizes}")
        self.info = INFO[self.flag]
        self.root = _files.checked_root(root)
        if download:
            self.download()
        place = _files.Place(self.flag, self.size, Path(self.root).absolute())
        place.expect()
        if split not in SPLITS:
            raise ValueError(f"split: found {split!r}, expected {' or '.join(SPLITS)}")
        self.split = split
        self.transform, self.target_transform, self.as_rgb = transform, target_transform, as_rgb
        self.imgs, self.labels, self._origin = place.read(split, packed=mmap_mode is not None)

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        reduced = super().__reduce_ex__(protocol)
        return reduced if self._origin is None else self._origin.lightened(reduced)

    def __copy__(self) -> Any:
        return _files.copied(super().__reduce_ex__(4))

    def __len__(self) -> int:
        return len(self.imgs)

    def __repr__(self) -> str:
        facts = {
            "Number of datapoints": self.__len__(), "Root location": self.root, "Split": self.split,
            "Task": self.info["task"], "Number of channels": self.info["n_channels"],
            "Meaning of labels": self.info["label"], "Number of samples": self.info["n_samples"],
            "Description": self.info["description"], "License": self.info["license"],
        }
        head = f"Dataset {type(self).__name__} of size {self.size} ({self.flag}{self.size_flag})"
        return "\n".join([head, *(f"    {name}: {value}" for name, value in facts.items())])

    @_Computed
    def targets(self) -> NDArray[np.int64]:
        labels = np.asarray(self.labels).astype(np.int64)
        return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels

    @_Computed
    def classes(self) -> list[str]:
        return list(self.info["label"].values())

    def download(self) -> None:
        """Download the official file given in `INFO` into the root, overwriting any other file of its name.

        Raises
        ------
        RuntimeError
            If it cannot be downloaded.
        """
        place = _files.Place(self.flag, self.size, Path(self.root).absolute())
        place.bring(self.info[f"url{self.size_flag}"], self.info[f"MD5{self.size_flag}"])

    def _named(self, folder: str | os.PathLike[str], more: str = "") -> str:
        return os.path.join(folder, f"{self.flag}{self.size_flag}{more}")

    def _save(self, save: Callable[..., None], folder: Any, postfix: str, write_csv: bool) -> None:
        save(
            imgs=self.imgs, labels=self.labels, img_folder=self._named(folder), split=self.split, postfix=postfix,
            csv_path=self._named(folder, ".csv") if write_csv else None,
        )

    def _chosen(self, length: int, replace: bool) -> NDArray[np.int64]:
        return np.random.choice(self.__len__(), size=length * length, replace=replace)  # noqa: NPY002 - as medmnist


class MedMNIST2D(MedMNIST):
    """A split whose items are ``(PIL image, label)``; see `MedMNIST`."""

    available_sizes: ClassVar[list[int]] = list(SIZES)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self._part(index)
        image, target = image_module().fromarray(self.imgs[index]), self.labels[index].astype(int)
        if self.as_rgb:
            image = image.convert("RGB")
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return image, target

    def save(self, folder: str | os.PathLike[str], postfix: str = "png", write_csv: bool = True) -> None:
        """Write each image as a file, ``{split}{row}_{labels}.{postfix}``, and add a line for each to a CSV."""
        self._save(utils.save2d, folder, postfix, write_csv)

    def montage(
        self, length: int = 20, replace: bool = False, save_folder: str | os.PathLike[str] | None = None
    ) -> Any:
        """A square of `length` x `length` images, chosen by NumPy's global generator, as a PIL image."""
        picture = utils.montage2d(
            imgs=self.imgs, n_channels=self.info["n_channels"], sel=self._chosen(length, replace)
        )
        if save_folder is not None:
            os.makedirs(save_folder, exist_ok=True)
            picture.save(self._named(save_folder, f"_{self.split}_montage.jpg"))
        return picture


class MedMNIST3D(MedMNIST):
    """A split whose items are ``(volume, label)``, the volume ``(1 or 3, d, h, w)`` float64 in [0, 1]."""

    available_sizes: ClassVar[list[int]] = list(SIZES[:2])

    def __getitem__(self, index: Any) -> tuple[Any, Any]:
        image, target = self.imgs[index], self.labels[index].astype(int)
        image = np.stack([image / 255.0] * (3 if self.as_rgb else 1), axis=0)
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return image, target

    def save(self, folder: str | os.PathLike[str], postfix: str = "gif", write_csv: bool = True) -> None:
        """Write each volume as an animation of its slices, and add a line for each to a CSV."""
        if postfix != "gif":
            raise AssertionError(f"postfix: found {postfix!r}, expected gif")
        self._save(utils.save3d, folder, postfix, write_csv)

    def montage(
        self, length: int = 20, replace: bool = False, save_folder: str | os.PathLike[str] | None = None
    ) -> list[Any]:
        """A square of `length` x `length` volumes, chosen by NumPy's global generator, as a PIL image per slice."""
        frames = utils.montage3d(
            imgs=self.imgs, n_channels=self.info["n_channels"], sel=self._chosen(length, replace)
        )
        if save_folder is not None:
            os.makedirs(save_folder, exist_ok=True)
            utils.save_frames_as_gif(frames, self._named(save_folder, f"_{self.split}_montage.gif"))
        return frames


class PathMNIST(MedMNIST2D):
    flag = "pathmnist"


class OCTMNIST(MedMNIST2D):
    flag = "octmnist"


class PneumoniaMNIST(MedMNIST2D):
    flag = "pneumoniamnist"


class ChestMNIST(MedMNIST2D):
    flag = "chestmnist"


class DermaMNIST(MedMNIST2D):
    flag = "dermamnist"


class RetinaMNIST(MedMNIST2D):
    flag = "retinamnist"


class BreastMNIST(MedMNIST2D):
    flag = "breastmnist"


class BloodMNIST(MedMNIST2D):
    flag = "bloodmnist"


class TissueMNIST(MedMNIST2D):
    flag = "tissuemnist"


class OrganAMNIST(MedMNIST2D):
    flag = "organamnist"


class OrganCMNIST(MedMNIST2D):
    flag = "organcmnist"


class OrganSMNIST(MedMNIST2D):
    flag = "organsmnist"


class OrganMNIST3D(MedMNIST3D):
    flag = "organmnist3d"


class NoduleMNIST3D(MedMNIST3D):
    flag = "nodulemnist3d"


class AdrenalMNIST3D(MedMNIST3D):
    flag = "adrenalmnist3d"


class FractureMNIST3D(MedMNIST3D):
    flag = "fracturemnist3d"


class VesselMNIST3D(MedMNIST3D):
    flag = "vesselmnist3d"


class SynapseMNIST3D(MedMNIST3D):
    flag = "synapsemnist3d"


OrganMNISTAxial, OrganMNISTCoronal, OrganMNISTSagittal = OrganAMNIST, OrganCMNIST, OrganSMNIST  # former names
