"""Convert a finished run of a network for ``--method tflite:FOLDER``: ``python run_to_tflite.py --help``.

Needs mmtk with the extras ``train`` and ``litert``; the latter takes 1 GB and should have its own environment.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from mmtk import store
from mmtk.errors import MmtkError
from mmtk.files import write_atomically, write_text
from mmtk.loader import permutation
from mmtk.runs import BEST, CONFIG, RunConfig, StoreFacts, read_result
from mmtk.training import Protocol, build_model
from mmtk.training._objectives import Objective
from mmtk.training._resuming import load_weights
from mmtk.training._steps import Network
from mmtk.training.checkpoints import load
from mmtk.values import typed

_SIGNATURE, _INPUT = "serving_default", "args_0"  # litert-torch's names


class Scorer(torch.nn.Module):  # type: ignore[misc]
    """A trained network from raw pixels to scores, so that callers need no pre- or postprocessing.

    Its input is (b, h, w, 3) from 0 to 255, uint8 or float32, with three equal channels for grey images; its output is
    the scores that mmtk evaluates, (b, classes).
    """

    def __init__(self, run: Path, opened: store.Store) -> None:
        super().__init__()
        config, info = RunConfig.read(run / CONFIG), opened.info
        if not config.is_network or info.ndim != 2:
            raise MmtkError(run, "is not a run of a network on images")
        if config.store.content != StoreFacts.of(opened).content:
            raise MmtkError(opened.path, f"does not hold the images that {run} was trained on")
        read_result(run)
        protocol = typed(run / CONFIG, config.settings["protocol"], Protocol)
        resolution = config.settings["resolution"]
        self.objective, self.protocol = Objective(info, protocol), protocol
        self.channels = info.channels
        channels = protocol.channels(info.channels)
        model = build_model(config.settings["model"], channels, self.objective.outputs, resolution)
        load_weights(model, load(run / BEST), run / BEST)
        self.network = Network(model, resolution, protocol, "float32")
        self.eval()

    def forward(self, images: Any) -> Any:
        """Scores of raw pixels."""
        pixels = images.permute(0, 3, 1, 2)[:, : self.channels].float() / 255
        if self.protocol.input == "centred":
            pixels = (pixels - 0.5) / 0.5
        sides = (pixels, pixels.flip(-1)) if self.protocol.mirror else (pixels,)
        return sum(self.objective.scores(self.network(side)) for side in sides) / len(sides)


def convert(run: Path, opened: store.Store, folder: Path, calibrate: int = 0) -> Path:
    """Write ``{flag}_{size}/model.tflite`` and ``dict.txt`` into a folder.

    Parameters
    ----------
    run : Path
        Folder of a finished run.
    opened : Store
        The store that it was trained on.
    folder : Path
    calibrate : int
        Number of training images for quantising weights, activations, input and output to int8; 0 for float32 with
        uint8 input.

    Returns
    -------
    Path
        The model.
    """
    import litert_torch

    info, scorer = opened.info, Scorer(run, opened)
    example = torch.zeros((1, info.size, info.size, 3), dtype=torch.float32 if calibrate else torch.uint8)
    final = folder / f"{info.flag}_{info.size}" / "model.tflite"
    final.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        written = Path(name) / "float.tflite"
        litert_torch.convert(scorer, (example,)).export(str(written))
        if calibrate:
            written = _quantise(written, opened.train, calibrate)
        with written.open("rb") as source:
            write_atomically(final, lambda file: shutil.copyfileobj(source, file), force=True)
    write_text(final.with_name("dict.txt"), "".join(f"{name}\n" for name in info.classes))
    return final


def _quantise(path: Path, train: store.Split, count: int) -> Path:
    from ai_edge_quantizer import quantizer, recipe
    from ai_edge_quantizer.calibrator import Calibrator
    from ai_edge_quantizer.recipe_manager import RecipeManager
    from ai_edge_quantizer.utils.qsv_utils import min_max_update

    rules = recipe.static_wi8_ai8()
    manager = RecipeManager()
    manager.load_quantization_recipe(rules)
    # the quantizer's own calibration averages the extremes of images, which clips the brightest and darkest pixels
    calibrator = Calibrator(str(path), qsv_update_func=min_max_update)
    calibrator.calibrate({_SIGNATURE: list(_samples(train, count))}, manager)
    done = path.with_name("int8.tflite")
    quantizer.Quantizer(str(path), rules).quantize(calibrator.get_model_qsvs()).export_model(str(done))
    return done


def _samples(train: store.Split, count: int) -> Iterator[dict[str, Any]]:
    rows = np.sort(permutation(len(train), 0, 0)[:count])
    for number, row in enumerate(rows):
        image = train.images[int(row)]
        pixels = (image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=-1)).astype(np.float32)
        if number == 0:  # with both extremes, int8 inputs are the raw bytes minus 128
            pixels[0, :2] = [[0.0], [255.0]]
        yield {_INPUT: pixels[None]}


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("path", metavar="STORE", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--quantise", "calibrate", is_flag=False, flag_value=200, default=0, type=click.IntRange(min=0),
              metavar="[IMAGES]", help="Quantise to int8, calibrated on IMAGES training images, by default 200.")
def main(run: Path, path: Path, folder: Path, calibrate: int) -> None:
    """Convert the finished RUN on STORE into FOLDER/FLAG_SIZE/model.tflite and dict.txt."""
    try:
        final = convert(run, store.open(path), folder, calibrate)
    except MmtkError as error:
        raise SystemExit(f"run_to_tflite: error: {error}") from None
    click.echo(f"{final}: {final.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
