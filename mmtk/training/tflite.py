"""The method ``tflite:FOLDER``: scores of what a service such as Google's AutoML Vision or Vertex AI exports.

FOLDER holds one ``.tflite`` file and ``dict.txt``, the names of its outputs a line each; or, for each dataset, a folder
``{flag}_{size}`` or ``{flag}`` that does. An image is resized to the model's input by Pillow's bicubic filter and given
as the bytes it is, as MedMNIST's script for the paper gave it: uint8 as they are, int8 less 128. What a model of floats
expects is not written in it: pixels from 0 to 1, unless ``scaling.json`` beside it says otherwise.

Integer outputs are scaled as the model says. The paper's script divided them by 255; ``{"divisor": 255}`` repeats that.
With several labels it decides on which side of 0.5 a raw 128 is: above it then, and at it by the usual scale of 1/256.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from mmtk import runs
from mmtk.base import sha256_of
from mmtk.errors import ArgumentError, MmtkError
from mmtk.files import write_text
from mmtk.imaging import resize
from mmtk.machine import cores
from mmtk.runs import Method, RunResult
from mmtk.store import NONE_OF_THE_ABOVE, StoreInfo
from mmtk.training.methods import Job
from mmtk.values import read_toml_or_json, typed

_DICT, _SCALING, _KEPT = "dict.txt", "scaling.json", "model.json"
_KINDS = tuple(map(np.dtype, ("uint8", "int8", "float32")))
_TRIAL_SECONDS = 300.0
_TRIAL = (
    "import sys; from ai_edge_litert.interpreter import Interpreter; "
    "model = Interpreter(sys.argv[1]); model.allocate_tensors(); model.invoke()"
)
_REMEDY = "export the model again"


class _Scaling(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """``scaling.json``.

    Attributes
    ----------
    mean, std : float
        A model of floats is given ``(pixel - mean) / std``, pixels being 0 to 255.
    divisor : float
        Integer outputs, counted from 0 to 255, are divided by it; 0 stands for the model's own scale and zero point.
    """

    mean: float = 0.0
    std: float = 255.0
    divisor: float = 0.0

    def __post_init__(self) -> None:
        if not self.std > 0 or self.divisor < 0:
            raise ValueError("std above 0 and divisor from 0")


def method_of(folder: str) -> Method:
    """The models in a folder as a method, called by the folder's name.

    Raises
    ------
    ArgumentError
        If there is no such folder.
    """
    place = Path(folder).expanduser().absolute()
    if not place.is_dir():
        raise ArgumentError("method tflite", expected="a folder with a .tflite file", found=folder)
    name = f"tflite-{re.sub('[^A-Za-z0-9.-]+', '-', place.name)}"
    facts = {"method": name, "folder": str(place)}
    return Method(
        name, f"tflite {place.name}", f"{__name__}:run", settings={"folder": str(place)}, facts=facts,
        epochs=1, batch_size=1,  # it goes image by image, whatever the budget
    )


def run(job: Job, *, folder: str) -> RunResult:
    """Leave the scores that a folder's model for the dataset gives; labels are not read.

    The run's folder then also holds ``model.json``, with the names and digests of what was run.

    Raises
    ------
    MmtkError
        If ai-edge-litert is not installed, the folder holds no model for the dataset or several, the model cannot be
        run or is for other images or classes, or the run was made with another model.
    """
    info = job.store.info
    if info.ndim != 2:
        raise MmtkError(job.store.path, expected="a store of images for the method tflite", found="volumes")
    path = _model_of(Path(folder), info)
    kept = job.out / _KEPT
    facts = {"model": path.name, **{file.name: sha256_of(file) for file in _files(path) if file.exists()}}
    if kept.exists() and (job.out / runs.RESULT).exists() and read_toml_or_json(kept, "a model's facts") != facts:
        expected, found = f"the model in {path.parent}", "a run of another one, or of other names or scaling"
        raise MmtkError(job.out, expected=expected, found=found, remedy="choose another --out")

    def predict() -> dict[str, NDArray[np.float64]]:
        write_text(kept, msgspec.json.format(msgspec.json.encode(facts)).decode() + "\n")
        return _predictions(job, _Model(path, info))

    return job.leave({"method": method_of(folder).name}, predict, timed=False)


def _predictions(job: Job, model: _Model) -> dict[str, NDArray[np.float64]]:
    total, done, scores = sum(map(len, job.store.splits)), 0, {}
    for split in job.store.splits:
        rows = scores[split.name] = np.empty((len(split), len(job.store.info.classes)))
        for number, image in enumerate(split.images):
            rows[number] = model.scores(image)
            done += 1
            job.progress(done, total)
    return scores


def _model_of(folder: Path, info: StoreInfo) -> Path:
    """The one ``.tflite`` file for a dataset."""
    names = (f"{info.flag}_{info.size}", info.flag)
    place = next((folder / name for name in names if (folder / name).is_dir()), folder)
    found = sorted(place.glob("*.tflite"))
    if len(found) != 1:
        told = ", ".join(path.name for path in found) or "none"
        where = "" if place != folder else f" there or in {info.flag}"
        raise MmtkError(place, expected=f"one .tflite file{where}", found=told)
    return found[0]


def _files(path: Path) -> tuple[Path, Path, Path]:
    """All that decides the scores: the model, the names of its outputs, and its scaling, which may not be there."""
    return path, path.with_name(_DICT), path.with_name(_SCALING)


class _Model:
    """A model that has run once, and the place of each class among its outputs."""

    def __init__(self, path: Path, info: StoreInfo) -> None:
        self.path = path
        names = _read_names(path.with_name(_DICT))
        self.order = _order(path.with_name(_DICT), names, info)
        self.scaling = _read_scaling(path.with_name(_SCALING))
        self.interpreter = _opened(path)
        self.input = self._only("input", self.interpreter.get_input_details())
        self.output = self._only("output", self.interpreter.get_output_details())
        shape = self.input["shape"].tolist()
        grey_into_one = info.channels == 1 and shape[-1:] == [1]
        if len(shape) != 4 or shape[0] != 1 or not (shape[3] == 3 or grey_into_one):
            expected = f"an input of shape (1, height, width, {'1 or 3' if info.channels == 1 else 3})"
            raise MmtkError(path, expected=expected, found=f"shape {tuple(shape)}")
        self.size, self.channels = (shape[1], shape[2]), shape[3]
        given = self.output["shape"].tolist()
        if np.prod(given) != len(names):
            expected = f"{len(names)} outputs, as many as there are names in {_DICT}"
            raise MmtkError(path, expected=expected, found=f"shape {tuple(given)}")

    def _only(self, what: str, details: list[dict[str, Any]]) -> dict[str, Any]:
        kinds = [np.dtype(one["dtype"]) for one in details]
        if len(kinds) != 1 or kinds[0] not in _KINDS:
            expected, found = f"one {what} of uint8, int8 or float32", ", ".join(map(str, kinds)) or "none"
            raise MmtkError(self.path, expected=expected, found=found)
        return details[0]

    def scores(self, image: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Scores of an image, a class each."""
        pixels = resize(image, self.size, filter="bicubic")
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[..., None], self.channels, axis=2)
        self.interpreter.set_tensor(self.input["index"], self._input_values(pixels)[None])
        self.interpreter.invoke()
        found = self._output_values(self.interpreter.get_tensor(self.output["index"]).reshape(-1))
        return found[self.order]

    def _input_values(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        kind = np.dtype(self.input["dtype"])
        if kind == np.uint8:
            return pixels
        if kind == np.int8:
            return (pixels ^ 0x80).view(np.int8)  # less 128
        scaled: NDArray[np.float32] = (pixels.astype(np.float32) - self.scaling.mean) / self.scaling.std
        return scaled.astype(np.float32)

    def _output_values(self, outputs: NDArray[Any]) -> NDArray[np.float64]:
        numbers: NDArray[np.float64] = outputs.astype(np.float64)
        if outputs.dtype != np.float32:
            scale, zero = self.output["quantization"]
            if self.scaling.divisor or not scale:  # without a scale of its own a byte goes from 0 to 1
                scale, zero = 1 / (self.scaling.divisor or 255.0), np.iinfo(outputs.dtype).min
            numbers = (numbers - zero) * float(scale)
        return numbers


def _read_names(path: Path) -> list[str]:
    """Names of the outputs in their order, in lower case."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise MmtkError(path, expected="the names of the model's outputs, a line each", found="none") from None
    except UnicodeDecodeError:
        raise MmtkError(path, expected="names in UTF-8, a line each", found="other bytes") from None
    return [line.strip().lower() for line in lines if line.strip()]


def _order(path: Path, names: list[str], info: StoreInfo) -> list[int]:
    """The output of each class."""
    wanted = [name.strip().lower() for name in info.classes]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise MmtkError(path, expected="each name once", found=f"{twice[0]} again")
    if lacking := [name for name in wanted if name not in names]:
        raise MmtkError(path, expected=f"the class {lacking[0]} of {info.flag}", found=f"{len(names)} other names")
    if unknown := [name for name in names if name not in (*wanted, NONE_OF_THE_ABOVE.lower())]:
        raise MmtkError(path, expected=f"classes of {info.flag} alone", found=unknown[0])
    return [names.index(name) for name in wanted]


def _read_scaling(path: Path) -> _Scaling:
    if not path.exists():
        return _Scaling()
    return typed(path, read_toml_or_json(path, "a model's scaling as JSON"), _Scaling)


def _opened(path: Path) -> Any:
    """A model ready to run, after one trial in a process of its own, which a damaged one can crash or stop."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise MmtkError.not_installed("method tflite", "ai-edge-litert", "tflite") from None
    expected = "a model that can be run"
    command = [sys.executable, "-c", _TRIAL, str(path)]
    try:
        tried = subprocess.run(command, capture_output=True, text=True, timeout=_TRIAL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        found = f"one that gives no scores in {_TRIAL_SECONDS:g} s"
        raise MmtkError(path, expected=expected, found=found, remedy=_REMEDY) from None
    if tried.returncode < 0:
        found = f"one that crashes ({signal.Signals(-tried.returncode).name})"
        raise MmtkError(path, expected=expected, found=found, remedy=_REMEDY)
    if tried.returncode:
        reason = tried.stderr.strip().rpartition("\n")[2].partition(": ")[2]
        raise MmtkError(path, expected=expected, found=reason or "another file", remedy=_REMEDY)
    interpreter = Interpreter(str(path), num_threads=cores())
    interpreter.allocate_tensors()
    return interpreter
