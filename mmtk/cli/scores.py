"""``mmtk evaluate``: score result files against their stores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmtk.cli._common import echo_json, json_option, stores_option
from mmtk.errors import MmtkError

if TYPE_CHECKING:
    from mmtk.scoring import Metrics, ScoredFile


@click.command("evaluate")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@stores_option
@json_option
@click.pass_context
def evaluate_command(ctx: click.Context, files: tuple[Path, ...], stores: Path, as_json: bool) -> None:
    """Score each result FILE against its store.

    The store is the one of the dataset and size that the file's name tells. Exit 1 if a name carries other figures than
    those found or a file has the store's labels in another order, 2 if a file cannot be scored; the others are scored
    all the same.
    """
    from mmtk.scoring import evaluate_file

    code, lines = 0, []
    for path in files:
        try:
            scored = evaluate_file(path, stores)
        except MmtkError as error:
            code = 2
            click.echo(f"mmtk: error: {error}", err=True)
            lines.append({"file": str(path), "error": str(error)})
            continue
        code = max(code, 0 if scored.agrees and not scored.own_order else 1)
        lines.append(_facts(scored))
        if not as_json:
            click.echo(_line(scored))
    if as_json:
        echo_json(lines)
    ctx.exit(code)


def _facts(scored: ScoredFile) -> dict[str, Any]:
    found = scored.predictions
    return {
        "file": str(scored.path), "flag": found.flag, "size": found.size, "split": found.split, "run": found.run,
        "images": len(found.scores), "auc": scored.metrics.auc, "acc": scored.metrics.acc,
        "named": found.metrics._asdict() if found.metrics else None, "agrees": scored.agrees,
        "own_order": scored.own_order,
        "synthetic": scored.synthetic, "partial": scored.partial,
    }


def _line(scored: ScoredFile) -> str:
    named = scored.predictions.metrics
    marks = [mark for mark, on in (("SYNTHETIC", scored.synthetic), ("PARTIAL", scored.partial)) if on]
    parts = [
        _figures(scored.metrics),
        f"in the name {_figures(named)}" if named else "none in the name",
        *([] if scored.agrees else ["DIFFERS"]),
        *(["by its own labels, which are the store's IN ANOTHER ORDER"] if scored.own_order else []),
        f"{len(scored.predictions.scores)} images", *marks, str(scored.path),
    ]
    return "  ".join(parts)


def _figures(metrics: Metrics) -> str:
    return f"AUC {metrics.auc:.3f} ACC {metrics.acc:.3f}"
