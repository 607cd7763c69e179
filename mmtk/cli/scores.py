"""``mmtk evaluate``, ``compare`` and ``enter``: score result files, compare them, make runs of those from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmtk.cli._common import echo_json, json_option, stores_option
from mmtk.datasets.base import SPLITS
from mmtk.errors import MmtkError

if TYPE_CHECKING:
    from mmtk.scoring import Assessment, ScoredFile


@click.command("evaluate")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@stores_option
@click.option("--intervals", "with_intervals", is_flag=True,
              help="Add 95 % intervals (bootstrap: 2,000 resamples of subjects where they are known, else of images) "
                   "and the figures of each class.")
@json_option
@click.pass_context
def evaluate_command(
    ctx: click.Context, files: tuple[Path, ...], stores: Path, with_intervals: bool, as_json: bool
) -> None:
    """Score each result FILE against its store.

    The store is the one of the dataset and size that the file's name tells. Exit 1 if a name carries other figures than
    those found or a file has the store's labels in another order, 2 if a file cannot be scored; the others are scored
    all the same. A figure that needs a class without images is undefined; only partial stores may lack one.
    """
    from mmtk.scoring import evaluate_file

    code, lines = 0, []
    for path in files:
        try:
            scored = evaluate_file(path, stores)
            inside = scored.assess() if with_intervals else None
        except (MmtkError, OSError) as error:
            code = 2
            said = str(error) if isinstance(error, MmtkError) else f"{path}: {error.strerror or error}"
            click.echo(f"mmtk: error: {said}", err=True)
            lines.append({"file": str(path), "error": said})
            continue
        code = max(code, 0 if scored.agrees and not scored.own_order else 1)
        lines.append(scored.facts() | (inside.facts() if inside else {}))
        if not as_json:
            click.echo(_line(scored))
            for line in _intervals(inside) if inside else ():
                click.echo(f"  {line}")
    if as_json:
        echo_json(lines)
    ctx.exit(code)


@click.command("compare")
@click.argument("files", metavar="FILE OTHER", nargs=2, type=click.Path(path_type=Path))
@stores_option
@json_option
def compare_command(files: tuple[Path, Path], stores: Path, as_json: bool) -> None:
    """Say how much better result FILE scores than OTHER on the same images, with 95 % intervals of the difference.

    Both are scored on the same 2,000 resamples of subjects where they are known, else of images. For a binary task
    with two images of each class or more, DeLong's interval of the AUC is given too.
    """
    from mmtk.scoring import compare_files

    compared = compare_files(*files, stores)
    if as_json:
        echo_json({"file": str(files[0]), "other": str(files[1]), **compared.facts()})
        return
    bands = compared.intervals
    click.echo(f"AUC {bands.auc}  ACC {bands.acc}  by {bands.resamples} resamples of {bands.resampled}")
    if compared.delong:
        click.echo(f"AUC {compared.delong} by DeLong, p = {compared.p:.3g}")


@click.command("enter")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--method", required=True, metavar="TITLE", help="What made them, as tables are to call it.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the runs.")
@stores_option
@click.option("--flag", help="The dataset, where the name of the one file does not tell it.")
@click.option("--size", type=click.IntRange(min=1), help="Edge of the images, where the name does not tell it.")
@click.option("--split", type=click.Choice(SPLITS), help="The split, where the name does not tell it.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
              help="Another number for each run of a method; tables show their mean.")
@click.option("--force", is_flag=True, help="Replace other predictions that were entered under this title.")
@json_option
def enter_command(
    files: tuple[Path, ...], method: str, out: Path, stores: Path, flag: str | None, size: int | None,
    split: str | None, seed: int, force: bool, as_json: bool,
) -> None:
    """Make runs of predictions that were made elsewhere, for mmtk report to show beside the others.

    Each FILE holds the scores of a split, an image a row, a class or label a column, named as MedMNIST names them,
    say pathmnist_64_test.csv. Either MedMNIST's layout, the row number first and no titles, or a table as pandas writes
    it: titled by the classes or their numbers, with the row number first, or in the split's order without. Test
    images' are needed; those of train and val may lack. Nothing is written if one file is refused.
    """
    from mmtk.runs import enter
    from mmtk.scoring import as_facts

    results = enter(files, method, out, stores, flag=flag, size=size, split=split, seed=seed, force=force)
    if as_json:
        echo_json([
            {"out": str(result.path), "reused": result.reused, "splits": {
                name: {"images": result.images[name], **as_facts(result.metrics[name]._asdict())}
                for name in result.files
            }}
            for result in results
        ])
        return
    for result in results:
        before = " (entered before)" if result.reused else ""
        click.echo(f"{result.path}: {', '.join(result.files)}; test {result.metrics['test']}{before}")


def _intervals(told: Assessment) -> Iterator[str]:
    """Lines of intervals, then of each class or label."""
    from mmtk.scoring import shown

    bands, inside = told.intervals, told.details
    lost = f", {bands.undefined} without every class" if bands.undefined else ""
    text = f"AUC {bands.auc}  ACC {bands.acc}  by {bands.resamples} resamples of {bands.resampled}{lost}"
    yield text + (f"; AUC {told.delong} by DeLong" if told.delong else "")
    error = inside.calibration_error
    yield f"balanced accuracy {bands.balanced_accuracy}" + (
        f"  quadratic kappa {bands.kappa or shown(inside.kappa)}" if inside.kappa is not None else ""
    ) + (f"  calibration error {error:.3f}" if error is not None else "")
    width = max(len(one.name) for one in inside.classes)
    for one, band in zip(inside.classes, bands.classes, strict=True):
        yield f"{one.name:{width}} {one.images:>6}  AUC {band.auc}  recall {band.recall}  F1 {band.f1}"


def _line(scored: ScoredFile) -> str:
    named = scored.predictions.metrics
    parts = [
        str(scored.metrics),
        f"in the name {named}" if named else "none in the name",
        *([] if scored.agrees else ["DIFFERS"]),
        *(["by its own labels, which are the store's IN ANOTHER ORDER"] if scored.own_order else []),
        f"{len(scored.predictions.scores)} {scored.info.kind}", *scored.info.marks.split(), str(scored.path),
    ]
    return "  ".join(parts)
