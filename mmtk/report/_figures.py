"""Figures as inline SVG in the page's own colours, so that they are legible in light and dark mode.

matplotlib draws with placeholder colours for CSS variables; text stays text, in the page's fonts.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mmtk.datasets.base import SPLITS, Task
from mmtk.runs import LabelledPredictions, Run, Setup, best_run, by_setup
from mmtk.scoring import format_figure

COLOURS = 8  # of set-ups, in the page's style; then they repeat with another dash
DASHES = ("", "5 2", "1.5 1.5", "6 2 1.5 2")
_VARIABLES = {
    "#010000": "var(--ink)", "#020000": "var(--muted)", "#030000": "var(--rule)",
    **{f"#0400{i:02x}": f"var(--c{i})" for i in range(COLOURS)},
    **{f"#0500{i:02x}": f"var(--{split})" for i, split in enumerate(SPLITS)},
}
_INK, _MUTED, _RULE = list(_VARIABLES)[:3]
_STYLE = {
    "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 8,
    "axes.titlesize": 8, "axes.labelsize": 8, "xtick.labelsize": 7, "ytick.labelsize": 7,
    "text.color": _INK, "axes.labelcolor": _INK, "axes.titlecolor": _INK, "xtick.color": _MUTED, "ytick.color": _MUTED,
    "axes.edgecolor": _MUTED, "axes.linewidth": 0.6, "axes.spines.top": False, "axes.spines.right": False,
    "xtick.major.width": 0.6, "ytick.major.width": 0.6, "grid.color": _RULE, "grid.linewidth": 0.6, "axes.grid": True,
    "axes.axisbelow": True, "lines.linewidth": 1.4, "axes.facecolor": "none", "figure.facecolor": "none",
}
_WIDTH = 3.5  # inches: about a phone's width at this text size
_TITLE = 56  # characters of 7 points that fit
_GRID = np.linspace(0, 1, 201)


def style_of(place: int) -> tuple[int, str]:
    """Number of the colour, and the dashes, of the set-up at this index."""
    return place % COLOURS, DASHES[(place // COLOURS + place) % len(DASHES)]


@rc_context(_STYLE)
def bars(runs: Sequence[Run]) -> str:
    """AUC and ACC of each split, one group of bars per set-up, averaged over seeds (the paper's Figure 2)."""
    groups = list(by_setup(runs).items())
    figure, axes = _figure(0.4 + 0.72 * len(groups), columns=2)
    for i, (axis, title) in enumerate(zip(axes, ("AUC", "ACC"), strict=True)):
        for row, (_, some) in enumerate(groups):
            for place, split in enumerate(SPLITS):
                if not any(run.result.images[split] for run in some):
                    continue
                value = float(np.mean([run.result.metrics[split][i] for run in some]))
                top = row + 0.30 + 0.2 * place
                width = np.nan_to_num(value)
                axis.barh(top, width, 0.18, color=f"#0500{place:02x}")
                axis.text(width + 0.02, top, format_figure(value), va="center", size=6)
        axis.set(xlim=(0, 1.2), ylim=(len(groups), -0.1), title=title, yticks=[], xticks=[0, 0.5, 1])
        axis.grid(visible=False, axis="y")
        axis.spines.left.set_visible(False)
    for row, (setup, _) in enumerate(groups):
        title = textwrap.shorten(setup.title, _TITLE, placeholder=" …")
        axes[0].text(0, row + 0.14, title, size=7, va="bottom", clip_on=False)
    return _svg(figure, f"bars {runs[0].dataset.flag}")


@rc_context(_STYLE)
def curves(runs: Sequence[Run], setups: Sequence[Setup]) -> str | None:
    """Loss and validation AUC by epoch, one line per run; None if no run has epochs."""
    logged = [run for run in runs if run.log]
    if not logged:
        return None
    figure, (loss, auc) = _figure(3.6, rows=2)
    most = max(len(run.log) for run in logged)
    points = {"marker": "o", "markersize": 2.5} if most < 12 else {}
    for run in logged:
        look = {**_look(setups.index(run.setup)), **points}
        epochs = [line["epoch"] for line in run.log]
        loss.plot(epochs, [line["train_loss"] for line in run.log], alpha=0.4, **look)
        loss.plot(epochs, [line["val_loss"] for line in run.log], **look)
        auc.plot(epochs, [line["val_auc"] for line in run.log], **look)
    loss.set(ylabel="loss")
    loss.set_ylim(bottom=0)
    auc.set(ylabel="validation AUC", xlabel="epoch")
    for axis in (loss, auc):
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.set_xlim(min(0.9, most * 0.02), most + max(0.1, most * 0.02))
    return _svg(figure, f"curves {runs[0].dataset.flag}")


@rc_context(_STYLE)
def roc(runs: Sequence[Run], setups: Sequence[Setup]) -> str | None:
    """ROC curves on test images: averaged over classes, one per set-up; faint, those of the best run's classes."""
    tested = [run for run in runs if run.predictions is not None and _curves_of(run.predictions)]
    if not tested:
        return None
    figure, (axis,) = _figure(3.3)
    axis.plot([0, 1], [0, 1], color=_MUTED, linewidth=0.6, linestyle=":")
    first = best_run(tested)
    assert first.predictions is not None
    by_class = _curves_of(first.predictions)
    for x, y in by_class if len(by_class) > 1 else ():
        axis.plot(x, y, color=_MUTED, linewidth=0.5, alpha=0.6)
    for setup, some in by_setup(tested).items():
        run = best_run(some)
        assert run.predictions is not None
        rates = _curves_of(run.predictions)
        mean = np.mean([np.interp(_GRID, *curve) for curve in rates], axis=0)
        x, y = rates[0] if len(rates) == 1 else (_GRID, mean)
        axis.plot(x, y, **_look(setups.index(setup)))
    axis.set(
        xlabel="false positive rate", ylabel="true positive rate", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01),
        aspect="equal",
    )
    return _svg(figure, f"roc {runs[0].dataset.flag}")


def _curves_of(test: LabelledPredictions) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """False and true positive rates of each class against the rest, of each label, or of the positive class.

    Classes without positive or without negative images are left out.
    """
    from sklearn.metrics import roc_curve

    y, s = test.labels, test.scores
    if test.task == Task.BINARY:
        y, s = y == 1, s[:, -1:]
    elif test.task != Task.MULTILABEL:
        y = y == np.arange(s.shape[1])
    columns = zip(y.T, s.T, strict=True)
    return [roc_curve(truth, score)[:2] for truth, score in columns if truth.min() < truth.max()]


def _look(place: int) -> dict[str, Any]:
    colour, dashes = style_of(place)
    line = (0, tuple(float(part) for part in dashes.split())) if dashes else "-"
    return {"color": f"#0400{colour:02x}", "linestyle": line}


def _figure(height: float, rows: int = 1, columns: int = 1) -> tuple[Any, Any]:
    figure = Figure((_WIDTH, height), layout="constrained")
    return figure, figure.subplots(rows, columns, sharex=rows > 1, squeeze=False).ravel()


def _svg(figure: Any, name: str) -> str:
    """The figure as an element of an HTML page: without unused ids, and with proportions instead of a size."""
    text = io.StringIO()
    with rc_context({"svg.hashsalt": name}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    svg = re.sub(r"(?s)^.*?(?=<svg)|<metadata>.*?</metadata>|<!--.*?-->", "", text.getvalue())
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in used else "", svg)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    svg = re.sub(r"#0[1-5]00[0-9a-f]{2}", lambda match: _VARIABLES[match[0]], svg)
    width, height = (float(value) for value in re.findall(r'(?:width|height)="([\d.]+)pt"', svg)[:2])
    return re.sub(r"<svg[^>]*>", f'<svg viewBox="0 0 {width:g} {height:g}" aria-hidden="true">', svg, count=1).strip()
