"""``mmtk list``, ``info`` and ``sources``: what datasets there are, one of them, and which raw data is at hand."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmtk.cli._common import echo_json, json_option, sources_option

if TYPE_CHECKING:
    from mmtk.datasets.base import Dataset
    from mmtk.store import Store


@click.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """List the ten datasets with the paper's counts."""
    from mmtk.datasets import list_datasets

    datasets = list_datasets()
    if as_json:
        echo_json([dataset.facts() for dataset in datasets])
        return
    heads = ("flag", "modality", "task", "classes", "train", "val", "test", "licence of the source")
    rows: list[tuple[str, ...]] = [
        (d.flag, d.modality, d.task.value, str(len(d.classes)), *_paper_counts(d), d.source.licence)
        for d in datasets
    ]
    echo_table(heads, rows, right={"classes", "train", "val", "test"})


@click.command("info")
@click.argument("name", metavar="FLAG_OR_STORE")
@json_option
@click.option("--croissant", is_flag=True, help="Of a store: print it as Croissant JSON-LD.")
def info_command(name: str, as_json: bool, croissant: bool) -> None:
    """Show the facts of a dataset, by its flag or an alias, or of a store, by its file."""
    from mmtk.datasets import get_dataset
    from mmtk.errors import ArgumentError

    try:
        dataset = get_dataset(name)
    except ArgumentError:
        if not (Path(name).suffix or Path(name).exists()):
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
        raise ArgumentError("--croissant", expected="a store", found=f"the flag {name}", remedy="give a store's file")
    if as_json:
        echo_json(dataset.facts())
        return
    facts = dataset.facts()
    source = facts.pop("source")
    lines = {
        "flag": " ".join((dataset.flag, *(f"(also {alias})" for alias in dataset.aliases))),
        "title": dataset.title, "modality": dataset.modality, "task": dataset.task.value,
        "classes": _numbered(dataset.classes), "channels": dataset.channels,
        **{f"counts {edition}": _counts(facts["counts"][edition]) for edition in facts["counts"]},
        "recipe 28 px": _recipe(facts["recipe"]),
        "larger sizes": "the same" if facts["recipe_larger"] == facts["recipe"] else _recipe(facts["recipe_larger"]),
        "source": source["name"], "licence": source["licence"], "page": source["page"], "layout": source["layout"],
        "citation": source["citation"],
        "MD5": "\n".join(f"{key:9} {md5}" for key, md5 in dataset.md5.items()),
        "unchecked": "\n".join(f"- {item}" for item in dict.fromkeys((*dataset.unchecked, *dataset.unchecked_larger))),
        "notes": "\n".join(f"- {note}" for note in dataset.notes),
    }
    _echo_facts(lines)


@click.command("sources")
@click.argument("flags", metavar="[FLAG]...", nargs=-1)
@sources_option
@json_option
@click.pass_context
def sources_command(ctx: click.Context, flags: tuple[str, ...], sources: Path, as_json: bool) -> None:
    """Say which raw data of each FLAG (by default all ten) is there, and where to get the rest.

    Exit 1 if something asked for is missing or incomplete.
    """
    if not sources.is_dir():
        raise click.BadParameter(f"{sources} is no folder", param_hint="--sources")
    found = [_look(dataset, sources) for dataset in choose_datasets(flags).values()]
    if as_json:
        echo_json(found)
    else:
        for one in found:
            _echo_source(one)
    if not all(one["complete"] for one in found):
        ctx.exit(1)


def choose_datasets(flags: tuple[str, ...]) -> dict[str, Dataset]:
    """The datasets asked for, by flag or by the name of a source that several share, each once; none means all."""
    from mmtk.datasets import get_dataset, list_datasets

    known = list_datasets()
    families = {name: [dataset for dataset in known if dataset.family == name] for name in {d.family for d in known}}
    chosen = [dataset for flag in flags for dataset in families.get(flag) or [get_dataset(flag)]]
    return {dataset.flag: dataset for dataset in chosen or known}


def _look(dataset: Dataset, sources: Path) -> dict[str, Any]:
    """What is there of a dataset's source."""
    from mmtk.datasets.listing import find_source
    from mmtk.errors import SourceError

    facts: dict[str, Any] = {
        "flag": dataset.flag, "source": dataset.source.name, "licence": dataset.source.licence,
        "page": dataset.source.page, "folder": None, "synthetic": False, "complete": False, "images": 0, "expected": 0,
        "bytes": 0, "findings": {}, "missing": [], "problem": "",
    }
    try:
        listing = find_source(sources, dataset, unpack=False)
        facts.update(folder=str(listing.root), synthetic=listing.phantom is not None)
        if listing.packed:
            return {**facts, "problem": f"packed in {', '.join(listing.packed)}, which mmtk build unpacks beside them"}
        scan = dataset.scan(listing)
    except SourceError as error:
        return {**facts, "problem": str(error)}
    kinds = Counter(finding.kind for finding in scan.findings)
    expected = dataset.counts["2020"].total
    if listing.phantom is not None:
        expected = len(scan.records) if dataset.volumetric else int(listing.phantom["images"])
    missing = [finding.name for finding in scan.findings if finding.kind == "missing"]
    return {
        **facts, "images": len(scan.records), "bytes": sum(map(listing.size, {r.file for r in scan.records})),
        "expected": expected, "findings": dict(kinds), "missing": missing,
        "complete": len(scan.records) == expected and not missing,
    }


def _echo_source(facts: dict[str, Any]) -> None:
    mark = " SYNTHETIC" if facts["synthetic"] else ""
    click.echo(f"{facts['flag']}: {facts['source']}{mark} (licence: {facts['licence']})")
    if facts["folder"]:
        click.echo(f"  folder    {facts['folder']}")
    if facts["problem"]:
        click.echo(f"  problem   {facts['problem']}")
    else:
        state = "complete" if facts["complete"] else "incomplete"
        click.echo(f"  images    {facts['images']} of {facts['expected']}, {state}")
        size, whole = facts["bytes"], facts["bytes"] * facts["expected"] // max(facts["images"], 1)
        rest = "" if facts["complete"] else f"; at that mean about {_bytes(whole)} in all"
        click.echo(f"  size      {_bytes(size)}{rest}")
    for kind, named in facts["findings"].items():
        count = max(named, facts["expected"] - facts["images"]) if kind == "missing" else named
        examples = ", ".join(facts["missing"][:3]) if kind == "missing" else ""
        click.echo(f"  {kind:9} {count}" + (f": {examples}{', ...' if named > 3 else ''}" if examples else ""))
    if not facts["complete"]:
        click.echo(f"  get it    {facts['page']}")


def _bytes(count: int) -> str:
    """A size in a unit that suits it."""
    for unit, least in (("GB", 10**9), ("MB", 10**6)):
        if count >= least:
            return f"{count / least:.1f} {unit}"
    return f"{count / 1000:.1f} kB"


def _show_store(store: Store, as_json: bool) -> None:
    import json
    from dataclasses import asdict

    info = store.info
    if as_json:
        echo_json({
            "path": str(store.path), "digest": store.digest, "counts": store.counts, **asdict(info),
            "recipe": json.loads(info.recipe),
        })
        return
    _echo_facts({
        "store": f"{store.path} {info.marks}".rstrip(), "flag": info.flag, "title": info.title,
        "modality": info.modality, "task": info.task, "classes": _numbered(info.classes),
        "size": f"{info.size} x {info.size}, {info.channels} channel{'s' * (info.channels > 1)}",
        "counts": _counts(store.counts), "edition": info.edition, "pixels": info.pixels,
        "recipe": _recipe(json.loads(info.recipe)), "split": info.split, "membership": info.membership,
        "source": info.source, "licence": info.licence, "citation": info.citation,
        "unchecked": "\n".join(f"- {item}" for item in info.unchecked), "written by": info.mmtk_version,
        "digest": store.digest,
    })


def _paper_counts(dataset: Dataset) -> tuple[str, str, str]:
    counts = dataset.counts["2020"]
    return f"{counts.train:,}", f"{counts.val:,}", f"{counts.test:,}"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _numbered(classes: tuple[str, ...]) -> str:
    return "\n".join(f"{number} {name}" for number, name in enumerate(classes))


def _recipe(steps: list[dict[str, Any]]) -> str:
    """A recipe as one line, for instance ``grey truncated, center_crop, resize bilinear``."""
    return ", ".join(map(_step, steps)) or "not known"


def _step(step: dict[str, Any]) -> str:
    """A step with its value, or with the names of several."""
    values = {name: _value(value) for name, value in step.items() if name != "step"}
    if len(values) < 2:
        return " ".join((step["step"], *values.values()))
    return f"{step['step']} ({', '.join(f'{name} {value}' for name, value in values.items())})"


def _value(value: Any) -> str:
    if isinstance(value, list):
        return " x ".join(f"{one:g}" for one in value)
    return "of the header" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _echo_facts(facts: dict[str, Any]) -> None:
    for name, value in facts.items():
        lines = str(value).splitlines() or ["-"]
        click.echo(f"{name:12} {lines[0]}")
        for line in lines[1:]:
            click.echo(f"{'':12} {line}")


def echo_table(heads: tuple[str, ...], rows: list[tuple[str, ...]], right: Collection[str] = ()) -> None:
    """A table: drawn by rich on a terminal, plain columns for a pipe."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        table = Table()
        for head in heads:
            table.add_column(head, justify="right" if head in right else "left")
        for row in rows:
            table.add_row(*row)
        Console().print(table)
        return
    widths = [max(len(row[i]) for row in (heads, *rows)) for i in range(len(heads))]
    for row in (heads, *rows):
        cells = (
            cell.rjust(width) if head in right else cell.ljust(width)
            for cell, head, width in zip(row, heads, widths, strict=True)
        )
        click.echo("  ".join(cells).rstrip())
