"""``mmtk evaluate``, ``compare`` and ``enter``: score result files, compare two, add predictions made elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmtk.cli._common import echo_json, example, json_option, stores_option
from mmtk.cli._names import FLAG, Choice, Folder
from mmtk.datasets.base import SPLITS
from mmtk.errors import MmtkError

if TYPE_CHECKING:
    from mmtk.scoring import Assessment, ScoredFile


@click.command("evaluate", epilog=example("mmtk evaluate runs/*/*_test_*.csv --stores stores --intervals"))
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@stores_option
@click.option("--intervals", "with_intervals", is_flag=True,
              help="Add 95 % bootstrap intervals (2,000 resamples of subjects if they are known, else of images) and "
                   "scores per class.")
@json_option
@click.pass_context
def evaluate_command(
    ctx: click.Context, files: tuple[Path, ...], stores: Path, with_intervals: bool, as_json: bool
) -> None:
    """Score each result FILE against its store.

    The file's name determines the dataset and size of the store. A score that needs a class without images is
    undefined; only partial stores may lack a class.

    Exits with 1 if the scores differ from those in a file's name, or if a file's row order differs from the store's; 2
    if a file cannot be scored. The other files are scored in any case.
    """
    from mmtk.scoring import evaluate_file

    code, lines = 0, []
    for path in files:
        try:
            scored = evaluate_file(path, stores)
            assessment = scored.assess() if with_intervals else None
        except (MmtkError, OSError) as error:
            code = 2
            message = str(error) if isinstance(error, MmtkError) else f"{path}: {error.strerror or error}"
            click.echo(f"mmtk: error: {message}", err=True)
            lines.append({"file": str(path), "error": message})
            continue
        code = max(code, 0 if scored.agrees and not scored.own_order else 1)
        lines.append(scored.facts() | (assessment.facts() if assessment else {}))
        if not as_json:
            click.echo(_line(scored))
            for line in _intervals(assessment) if assessment else ():
                click.echo(f"  {line}")
    if as_json:
        echo_json(lines)
    ctx.exit(code)


@click.command("compare", epilog=example("mmtk compare runs/a/*_test_*.csv runs/b/*_test_*.csv --stores stores"))
@click.argument("files", metavar="FILE OTHER", nargs=2, type=click.Path(path_type=Path))
@stores_option
@json_option
def compare_command(files: tuple[Path, Path], stores: Path, as_json: bool) -> None:
    """Show by how much result FILE scores better than OTHER on the same images, with 95 % intervals.

    Both are scored on the same 2,000 bootstrap resamples of subjects if they are known, else of images. For a binary
    task with at least two images per class, DeLong's interval for the AUC is shown too.
    """
    from mmtk.scoring import compare_files

    compared = compare_files(*files, stores)
    if as_json:
        echo_json({"file": str(files[0]), "other": str(files[1]), **compared.facts()})
        return
    bands = compared.intervals
    click.echo(f"AUC {bands.auc}  ACC {bands.acc}  ({bands.resamples} bootstrap resamples of {bands.resampled})")
    if compared.delong:
        click.echo(f"AUC {compared.delong} (DeLong, p = {compared.p:.3g})")


@click.command("enter", epilog=example(
    "mmtk enter breastmnist_28_test.csv --method 'My network' --stores stores --out runs",
))
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--method", required=True, metavar="TITLE", help="Name of the method in tables.")
@click.option("--out", type=Folder(), required=True, help="Folder of the runs.")
@stores_option
@click.option("--flag", type=FLAG, help="Dataset, if the file's name does not contain it.")
@click.option("--size", type=click.IntRange(min=1), help="Edge length of the images, if not in the file's name.")
@click.option("--split", type=Choice(SPLITS), help="Split, if not in the file's name.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
              help="A different number for each run of the method; tables show their mean.")
@click.option("--force", is_flag=True, help="Replace predictions that were entered under this title before.")
@json_option
def enter_command(
    files: tuple[Path, ...], method: str, out: Path, stores: Path, flag: str | None, size: int | None,
    split: str | None, seed: int, force: bool, as_json: bool,
) -> None:
    """Add predictions made elsewhere to a folder of runs, so that mmtk report shows them beside the others.

    Each FILE holds the scores of one split, with a row per image and a column per class or label, and is named as
    MedMNIST names it, for instance pathmnist_64_test.csv. The layout is either MedMNIST's (row number first, no header)
    or that of a pandas table: a header with the classes or their numbers, and either the row number first or the rows
    in the split's order. Scores of the test split are required, those of train and val optional. If a file is refused,
    nothing is written.
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


def _intervals(assessment: Assessment) -> Iterator[str]:
    """Lines with intervals, then a line per class or label."""
    from mmtk.scoring import format_figure

    bands, details = assessment.intervals, assessment.details
    dropped = f", {bands.undefined} without every class" if bands.undefined else ""
    text = f"AUC {bands.auc}  ACC {bands.acc}  ({bands.resamples} bootstrap resamples of {bands.resampled}{dropped})"
    yield text + (f"; AUC {assessment.delong} (DeLong)" if assessment.delong else "")
    error = details.calibration_error
    yield f"balanced accuracy {bands.balanced_accuracy}" + (
        f"  quadratic kappa {bands.kappa or format_figure(details.kappa)}" if details.kappa is not None else ""
    ) + (f"  calibration error {error:.3f}" if error is not None else "")
    width = max(len(scores.name) for scores in details.classes)
    for scores, band in zip(details.classes, bands.classes, strict=True):
        yield f"{scores.name:{width}} {scores.images:>6}  AUC {band.auc}  recall {band.recall}  F1 {band.f1}"


def _line(scored: ScoredFile) -> str:
    named = scored.predictions.metrics
    parts = [
        str(scored.metrics),
        f"in the file's name {named}" if named else "no scores in the file's name",
        *([] if scored.agrees else ["DIFFERS"]),
        *(["scored against the file's own labels (ROW ORDER DIFFERS from the store)"] if scored.own_order else []),
        f"{len(scored.predictions.scores)} {scored.info.kind}", *scored.info.marks.split(), str(scored.path),
    ]
    return "  ".join(parts)
