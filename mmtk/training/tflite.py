"""The method ``tflite:FOLDER``: scores of models exported by services such as Google's AutoML Vision or Vertex AI.

FOLDER holds one ``.tflite`` file and ``dict.txt``, the names of its outputs, one per line; or, for each dataset, a
folder ``{flag}_{size}`` or ``{flag}`` that does. Images are resized to the model's input with Pillow's bicubic filter
and passed as bytes, as in MedMNIST's script for the paper: uint8 unchanged, int8 minus 128. A float model's expected
range is not stored in it: pixels are from 0 to 1, unless a ``scaling.json`` alongside says otherwise.

Integer outputs are scaled as the model says. The paper's script divided them by 255; ``{"divisor": 255}`` does the
same. For multi-label tasks this decides whether a raw 128 is positive: it is above 0.5 then, but exactly 0.5 with the
usual scale of 1/256.
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
        A float model's input is ``(pixel - mean) / std``, with pixels from 0 to 255.
    divisor : float
        Integer outputs, counted from 0 to 255, are divided by it; 0 for the model's own scale and zero point.
    """

    mean: float = 0.0
    std: float = 255.0
    divisor: float = 0.0

    def __post_init__(self) -> None:
        if not self.std > 0 or self.divisor < 0:
            raise ValueError("std above 0 and divisor at least 0")


def method_of(folder: str) -> Method:
    """Return the models in a folder as a method, named after the folder.

    Raises
    ------
    ArgumentError
        If the folder does not exist.
    """
    place = Path(folder).expanduser().absolute()
    if not place.is_dir():
        problem = f"{folder} is not a folder" if place.exists() else f"the folder {folder} does not exist"
        raise ArgumentError("method tflite", problem)
    name = f"tflite-{re.sub('[^A-Za-z0-9.-]+', '-', place.name)}"
    facts = {"method": name, "folder": str(place)}
    return Method(
        name, f"tflite {place.name}", f"{__name__}:run", settings={"folder": str(place)}, facts=facts,
        epochs=1, batch_size=1,  # its progress counts images, and it ignores the budget
    )


def run(job: Job, *, folder: str) -> RunResult:
    """Write the scores of a folder's model for the dataset; labels are not read.

    The run's folder then also holds ``model.json``, with the names and digests of the model's files.

    Raises
    ------
    MmtkError
        If ai-edge-litert is not installed, the folder does not hold exactly one model for the dataset, the model cannot
        be run or is for other images or classes, or the run was made with another model.
    """
    info = job.store.info
    if info.ndim != 2:
        raise MmtkError(job.store.path, "holds volumes, which the method tflite does not support")
    path = _model_of(Path(folder), info)
    kept = job.out / _KEPT
    facts = {"model": path.name, **{file.name: sha256_of(file) for file in _files(path) if file.exists()}}
    if kept.exists() and (job.out / runs.RESULT).exists() and read_toml_or_json(kept, "a model's facts") != facts:
        problem = f"holds a run with another model, names or scaling than those in {path.parent}"
        raise MmtkError(job.out, problem, remedy="choose another --out")

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
    """The only ``.tflite`` file for a dataset."""
    names = (f"{info.flag}_{info.size}", info.flag)
    place = next((folder / name for name in names if (folder / name).is_dir()), folder)
    models = sorted(place.glob("*.tflite"))
    if not models:
        where = "" if place != folder else f", nor has it a folder {info.flag}"
        raise MmtkError(place, f"contains no .tflite file{where}")
    if len(models) > 1:
        raise MmtkError(place, "contains several .tflite files", found=", ".join(path.name for path in models))
    return models[0]


def _files(path: Path) -> tuple[Path, Path, Path]:
    """Files that decide the scores: the model, the names of its outputs, and its optional scaling."""
    return path, path.with_name(_DICT), path.with_name(_SCALING)


class _Model:
    """A model that has been tried, with the position of each class among its outputs."""

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
            expected = f"(1, height, width, {'1 or 3' if info.channels == 1 else 3})"
            raise MmtkError(path, found=f"an input of shape {tuple(shape)}", expected=expected)
        self.size, self.channels = (shape[1], shape[2]), shape[3]
        given = self.output["shape"].tolist()
        if np.prod(given) != len(names):
            expected = f"{len(names)} outputs, one per name in {_DICT}"
            raise MmtkError(path, found=f"an output of shape {tuple(given)}", expected=expected)

    def _only(self, what: str, details: list[dict[str, Any]]) -> dict[str, Any]:
        kinds = [np.dtype(tensor["dtype"]) for tensor in details]
        if len(kinds) != 1 or kinds[0] not in _KINDS:
            found = f"{what}s of type {', '.join(map(str, kinds))}" if kinds else f"no {what}"
            raise MmtkError(self.path, found=found, expected="one of uint8, int8 or float32")
        return details[0]

    def scores(self, image: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Scores of an image, one per class."""
        pixels = resize(image, self.size, filter="bicubic")
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[..., None], self.channels, axis=2)
        self.interpreter.set_tensor(self.input["index"], self._input_values(pixels)[None])
        self.interpreter.invoke()
        outputs = self._output_values(self.interpreter.get_tensor(self.output["index"]).reshape(-1))
        return outputs[self.order]

    def _input_values(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        kind = np.dtype(self.input["dtype"])
        if kind == np.uint8:
            return pixels
        if kind == np.int8:
            return (pixels ^ 0x80).view(np.int8)  # minus 128
        scaled: NDArray[np.float32] = (pixels.astype(np.float32) - self.scaling.mean) / self.scaling.std
        return scaled.astype(np.float32)

    def _output_values(self, outputs: NDArray[Any]) -> NDArray[np.float64]:
        numbers: NDArray[np.float64] = outputs.astype(np.float64)
        if outputs.dtype != np.float32:
            scale, zero = self.output["quantization"]
            if self.scaling.divisor or not scale:  # without a scale in the model, bytes are mapped to 0 to 1
                scale, zero = 1 / (self.scaling.divisor or 255.0), np.iinfo(outputs.dtype).min
            numbers = (numbers - zero) * float(scale)
        return numbers


def _read_names(path: Path) -> list[str]:
    """Names of the outputs, in their order, in lower case."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise MmtkError(path, "does not exist", expected="the names of the model's outputs, one per line") from None
    except UnicodeDecodeError:
        raise MmtkError(path, "is not encoded as UTF-8") from None
    return [line.strip().lower() for line in lines if line.strip()]


def _order(path: Path, names: list[str], info: StoreInfo) -> list[int]:
    """The index of each class's output."""
    wanted = [name.strip().lower() for name in info.classes]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise MmtkError(path, f"the name {twice[0]} is repeated")
    if missing := [name for name in wanted if name not in names]:
        raise MmtkError(path, f"the class {missing[0]} of {info.flag} is missing among {len(names)} names")
    if unknown := [name for name in names if name not in (*wanted, NONE_OF_THE_ABOVE.lower())]:
        raise MmtkError(path, f"{unknown[0]} is not a class of {info.flag}")
    return [names.index(name) for name in wanted]


def _read_scaling(path: Path) -> _Scaling:
    if not path.exists():
        return _Scaling()
    return typed(path, read_toml_or_json(path, "a model's scaling as JSON"), _Scaling)


def _opened(path: Path) -> Any:
    """Open a model after a trial in a separate process, which a damaged model can crash or hang."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise MmtkError.not_installed("method tflite", "ai-edge-litert", "tflite") from None
    command = [sys.executable, "-c", _TRIAL, str(path)]
    try:
        trial = subprocess.run(command, capture_output=True, text=True, timeout=_TRIAL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise MmtkError(path, f"the model gave no scores within {_TRIAL_SECONDS:g} s", remedy=_REMEDY) from None
    if trial.returncode < 0:
        problem = f"the model crashes when it is run ({signal.Signals(-trial.returncode).name})"
        raise MmtkError(path, problem, remedy=_REMEDY)
    if trial.returncode:
        reason = trial.stderr.strip().rpartition("\n")[2].partition(": ")[2]
        raise MmtkError(path, f"the model cannot be run: {reason or 'not a TFLite model'}", remedy=_REMEDY)
    interpreter = Interpreter(str(path), num_threads=cores())
    interpreter.allocate_tensors()
    return interpreter
