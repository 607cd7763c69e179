"""``mmtk list``, ``info`` and ``sources``: the datasets, the facts of one, and the raw data that is present."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmtk.cli._common import counts_text, echo_json, echo_table, example, json_option, sources_option
from mmtk.cli._names import FLAG_OR_FILE, RAW_FLAG_OR_FILE
from mmtk.datasets.base import SPLITS
from mmtk.datasets.marks import SYNTHETIC

if TYPE_CHECKING:
    from mmtk.datasets.base import Dataset
    from mmtk.datasets.sources import SourceReport
    from mmtk.store import Store

_OF_RAW_IMAGES = {"recipe 28 px", "larger sizes", "layout", "unchecked"}


@click.command("list", epilog=example("mmtk list"))
@json_option
def list_command(as_json: bool) -> None:
    """List the datasets, the paper's ten first, with the image counts of their first edition."""
    from mmtk.datasets import list_datasets

    datasets = list_datasets()
    if as_json:
        echo_json([dataset.facts() for dataset in datasets])
        return
    heads = ("flag", "modality", "task", "classes", *SPLITS, "licence of the source")
    rows: list[tuple[str, ...]] = [
        (d.flag, d.modality, d.task.value, str(len(d.classes)), *_first_counts(d), d.source.licence)
        for d in datasets
    ]
    echo_table(heads, rows, right={"classes", *SPLITS})


@click.command("info", epilog=example("mmtk info breastmnist", "mmtk info stores/breastmnist_28.h5"))
@click.argument("name", metavar="FLAG_OR_STORE", type=FLAG_OR_FILE)
@json_option
@click.option("--croissant", is_flag=True, help="Print the facts of a store as Croissant JSON-LD.")
def info_command(name: str, as_json: bool, croissant: bool) -> None:
    """Show the facts of a dataset (by flag, alias or dataset file) or of a store (by its file)."""
    from mmtk.datasets.own import named
    from mmtk.errors import ArgumentError

    try:
        dataset = named(name)
    except ArgumentError:
        if name.lower().endswith(".toml") or not (Path(name).suffix or Path(name).exists()):
            raise
        from mmtk import store

        opened = store.open(name)
        if croissant:
            from mmtk.compat import to_croissant

            echo_json(to_croissant(opened))
        else:
            _show_store(opened, as_json)
        return
    if croissant:
        raise ArgumentError("--croissant", f"needs a store's file, and {name} is a dataset")
    if as_json:
        echo_json(dataset.facts())
        return
    facts = dataset.facts()
    source = facts.pop("source")
    lines = {
        "flag": " ".join((dataset.flag, *(f"(also {alias})" for alias in dataset.aliases))),
        "title": dataset.title, "modality": dataset.modality, "task": dataset.task.value,
        "classes": _numbered(dataset.classes), "images": _kind(dataset.ndim, dataset.channels),
        "sizes": f"{', '.join(map(str, dataset.sizes))} px" if dataset.sizes else "",
        **{f"counts {edition}": counts_text(facts["counts"][edition], ",") for edition in facts["counts"]},
        "recipe 28 px": _recipe(facts["recipe"]),
        "larger sizes": "the same" if facts["recipe_larger"] == facts["recipe"] else _recipe(facts["recipe_larger"]),
        "source": source["name"], "licence": source["licence"], "page": source["page"], "layout": source["layout"],
        "citation": source["citation"],
        "MD5": "\n".join(f"{key:9} {md5}" for key, md5 in dataset.md5.items()),
        "unchecked": _listed(dict.fromkeys((*dataset.unchecked, *dataset.unchecked_larger))),
        "notes": _listed(dataset.notes),
    }
    hidden = set() if dataset.has_raw_pipeline else _OF_RAW_IMAGES
    _echo_facts({name: value for name, value in lines.items() if name not in hidden and (value or dataset.md5)})


@click.command("sources", epilog=example("mmtk sources breastmnist --sources sources"))
@click.argument("flags", metavar="[FLAG]...", nargs=-1, type=RAW_FLAG_OR_FILE)
@sources_option
@json_option
@click.pass_context
def sources_command(ctx: click.Context, flags: tuple[str, ...], sources: Path, as_json: bool) -> None:
    """Show which raw data of each FLAG (by default, of the paper's ten) is present, and where to get the rest.

    Exits with 1 if any of it is missing or incomplete.
    """
    from mmtk.datasets.sources import choose, inspect_source

    if not sources.is_dir():
        raise click.BadParameter(f"{sources} is not a folder", param_hint="--sources")
    reports = [inspect_source(dataset, sources) for dataset in choose(flags)]
    if as_json:
        echo_json([report.facts() for report in reports])
    else:
        for report in reports:
            _echo_source(report)
    if not all(report.complete for report in reports):
        ctx.exit(1)


def _echo_source(report: SourceReport) -> None:
    source = report.dataset.source
    mark = f" {SYNTHETIC}" if report.synthetic else ""
    click.echo(f"{report.dataset.flag}: {source.name}{mark} (licence: {source.licence})")
    if report.folder:
        click.echo(f"  folder    {report.folder}")
    if report.problem:
        click.echo(f"  problem   {report.problem}")
    else:
        more = f", {report.images - report.expected} surplus" if report.images > report.expected else ""
        state = "complete" if report.complete else "incomplete"
        click.echo(f"  images    {report.images} of {report.expected}, {state}{more}")
        rest = "" if report.complete else f"; about {_bytes(report.expected_bytes)} in total (extrapolated)"
        click.echo(f"  size      {_bytes(report.bytes)}{rest}")
    for kind, count in report.findings.items():
        examples = ", ".join(report.missing[:3]) if kind == "missing" else ""
        more = f": {examples}{', ...' if count > 3 else ''}" if examples else ""
        click.echo(f"  {kind:9} {report.count(kind)}{more}")
    if not report.complete and report.dataset.has_raw_pipeline:
        click.echo(f"  get it    {source.page}")


def _bytes(count: int) -> str:
    """A file size in a suitable unit."""
    for unit, least in (("GB", 10**9), ("MB", 10**6)):
        if count >= least:
            return f"{count / least:.1f} {unit}"
    return f"{count / 1000:.1f} kB"


def _show_store(store: Store, as_json: bool) -> None:
    import json

    info = store.info
    if as_json:
        echo_json(store.facts())
        return
    facts = {
        "store": f"{store.path} {info.marks}".rstrip(), "flag": info.flag, "title": info.title,
        "modality": info.modality, "task": info.task, "classes": _numbered(info.classes),
        "size": f"{' x '.join([str(info.size)] * info.ndim)}, {_kind(info.ndim, info.channels)}",
        "counts": counts_text(store.counts, ","), "edition": info.edition, "pixels": info.pixels,
        "recipe": _recipe(json.loads(info.recipe)), "split": info.split, "membership": info.membership,
        "source": info.source, "page": info.page, "licence": info.licence, "citation": info.citation,
        "unchecked": _listed(info.unchecked), "written by": info.mmtk_version,
        "digest": store.digest,
    }
    _echo_facts({name: value for name, value in facts.items() if value or name not in ("edition", "page")})


def _first_counts(dataset: Dataset) -> list[str]:
    if dataset.own:
        return ["-"] * len(SPLITS)
    return [f"{getattr(dataset.counts[dataset.first_edition], split):,}" for split in SPLITS]


def _listed(items: Iterable[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _numbered(classes: tuple[str, ...]) -> str:
    return "\n".join(f"{number} {name}" for number, name in enumerate(classes))


def _kind(ndim: int, channels: int) -> str:
    return "grey volumes" if ndim == 3 else "grey, 1 channel" if channels == 1 else "colour, 3 channels"


def _recipe(steps: list[dict[str, Any]]) -> str:
    """A recipe in one line, for instance ``grey truncated, center_crop, resize bilinear``."""
    return ", ".join(map(_step, steps)) or "unknown"


def _step(step: dict[str, Any]) -> str:
    """A step with its value, or with its values by name if there are several."""
    values = {name: _value(value) for name, value in step.items() if name != "step"}
    if len(values) < 2:
        return " ".join((step["step"], *values.values()))
    return f"{step['step']} ({', '.join(f'{name} {value}' for name, value in values.items())})"


def _value(value: Any) -> str:
    if isinstance(value, list):
        return " x ".join(f"{number:g}" for number in value)
    return "from the header" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _echo_facts(facts: dict[str, Any]) -> None:
    for name, value in facts.items():
        lines = str(value).splitlines() or ["-"]
        click.echo(f"{name:12} {lines[0]}")
        for line in lines[1:]:
            click.echo(f"{'':12} {line}")
