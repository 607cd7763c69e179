"""``mmtk demo``: the whole pipeline on synthetic data, each step an ordinary command."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from mmtk.cli._common import example

# flag -> share of the published counts: enough test images to score, few enough to train in minutes on two cores
_SCALES = {"breastmnist": 0.25, "pneumoniamnist": 0.06, "dermamnist": 0.025}


@click.command("demo", epilog=example("mmtk demo --out demo"))
@click.option("--out", type=click.Path(path_type=Path), default=Path("demo"), show_default=True,
              help="Output folder for sources, stores, montages and runs; what exists there is reused.")
def demo_command(out: Path) -> None:
    """Run the whole pipeline on synthetic data, from raw files to test AUC and ACC, printing each command."""
    from mmtk.store import store_path

    sources, stores = str(out / "sources"), str(out / "stores")
    for flag, scale in _SCALES.items():
        _run("phantom", flag, "--scale", str(scale), "--out", sources)
    _run("sources", *_SCALES, "--sources", sources)
    _run("build", *_SCALES, "--sources", sources, "--out", stores)
    built = {flag: str(store_path(stores, flag, 28)) for flag in _SCALES}
    _run("verify", *built.values())
    for flag, store in built.items():
        _run("show", store, "--out", str(out / f"{flag}.png"))
    runs = {flag: out / "runs" / f"{flag}_resnet18_quick" for flag in _SCALES}
    for flag, run in runs.items():
        _run("train", built[flag], "--protocol", "quick", "--model", "resnet18", "--out", str(run))
    results = [str(path) for run in runs.values() for path in sorted(run.glob("*_test_*.csv"))]
    _run("evaluate", *results, "--stores", stores)
    _table(built, runs)
    click.echo(f"montages: {', '.join(str(out / f'{flag}.png') for flag in _SCALES)}")


def _run(*arguments: str) -> None:
    """Print a command line and run it in this process; exit if it fails, as a shell script would."""
    from mmtk.cli import group

    click.echo(f"\n$ mmtk {shlex.join(arguments)}")
    code = group.main(list(arguments), prog_name="mmtk", standalone_mode=False)
    if code:
        raise SystemExit(code)


def _table(built: dict[str, str], runs: dict[str, Path]) -> None:
    from mmtk import store
    from mmtk.training import read_result

    click.echo(f"\n{'dataset':28}{'test images':>12}{'AUC':>8}{'ACC':>8}")
    for flag, run in runs.items():
        info, result = store.open(built[flag]).info, read_result(run)
        metrics = result.metrics["test"]
        name = f"{info.title} {info.marks}"
        click.echo(f"{name:28}{result.images['test']:>12}{metrics.auc:>8.3f}{metrics.acc:>8.3f}")
    click.echo("SYNTHETIC images: the scores show that every step works, not how well a network reads real images")
