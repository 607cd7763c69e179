"""A proof as a table and lines below it, for a terminal or as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mmtk.datasets import get_dataset
from mmtk.proof._evidence import KINDS, Difference, Need, Proof

_SHOWN = 5  # rows that differ, of each dataset and size


def table(proof: Proof) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Heads and rows of the table: a row a dataset, a column a size."""
    sizes = list(dict.fromkeys(cell.size for cell in proof.cells))
    texts = {(cell.flag, cell.size): cell.text for cell in proof.cells}
    rows = [
        (get_dataset(flag).title, *(texts.get((flag, size), "no such files") for size in sizes))
        for flag in dict.fromkeys(cell.flag for cell in proof.cells)
    ]
    return ("dataset", *(f"{size} px" for size in sizes)), rows


def lines(proof: Proof) -> list[str]:
    """What differs, then what is missing, each in a line."""
    return [*_differences(proof.differences), *(f"missing: {text}" for text in _needs(proof.needs))]


def markdown(proof: Proof) -> str:
    """The table with pipes, what its words mean, and the lines below it as lists."""
    heads, rows = table(proof)
    aligned = [heads, ("---",) * len(heads), *rows]
    text = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in aligned]
    used = [kind for kind in KINDS if any(one.kind == kind for cell in proof.cells for one in cell.evidence)]
    text += ["", *(f"* **{'MD5' if kind == 'md5' else kind}**: {KINDS[kind]}" for kind in used)]
    differing, missing = list(_differences(proof.differences)), list(_needs(proof.needs))
    for head, said in (("What differs:", differing), ("Missing to prove the rest:", missing)):
        text += ["", head, "", *(f"* {line}" for line in said)] if said else []
    return "\n".join(text) + "\n"


def _differences(differences: Iterable[Difference]) -> Iterator[str]:
    by_cell: dict[tuple[str, int, str], list[Difference]] = {}
    for one in differences:
        by_cell.setdefault((one.flag, one.size, one.kind), []).append(one)
    for (flag, size, kind), those in by_cell.items():
        for one in those[:_SHOWN]:
            row = f" {one.split}, {one.source}:" if one.source else f" {kind}:"
            yield f"differs: {flag} {size} px,{row} {one.reason}" + (f"; see {one.picture}" if one.picture else "")
        if len(those) > _SHOWN:
            yield f"differs: {flag} {size} px, {len(those) - _SHOWN:,} more rows; --json names them"


def _needs(needs: Iterable[Need]) -> Iterator[str]:
    """Raw files by source, official ones by the sizes that are missing, so that each thing is said once."""
    sizes: dict[str, list[int]] = {}
    texts: dict[str, list[str]] = {}
    for need in needs:
        if need.size is not None:
            sizes.setdefault(need.flag, []).append(need.size)
        else:
            texts.setdefault(need.text, []).append(need.flag)
    yield from (f"{', '.join(flags)}: {text}" for text, flags in texts.items())
    alike: dict[tuple[int, ...], list[str]] = {}
    for flag, those in sizes.items():
        alike.setdefault(tuple(those), []).append(flag)
    for those_sizes, flags in alike.items():
        options = " ".join(f"--size {size}" for size in those_sizes)
        yield f"official files: mmtk fetch {' '.join(flags)} {options} --out DIR"
