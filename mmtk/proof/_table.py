"""Format a proof as a table with lines below it, for a terminal or as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mmtk.datasets import get_dataset
from mmtk.proof._evidence import KINDS, Difference, Proof, Requirement

_SHOWN = 5  # rows that differ, per dataset and size


def table(proof: Proof) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows of the table: a row per dataset, a column per size.

    Parameters
    ----------
    proof : Proof

    Returns
    -------
    header : tuple of str
    rows : list of tuple of str

    Examples
    --------
    >>> from mmtk.proof import prove, table
    >>> table(prove("breastmnist", sizes=[28, 64]))
    (('dataset', '28 px', '64 px'), [('BreastMNIST', 'nothing', 'nothing')])
    """
    sizes = list(dict.fromkeys(cell.size for cell in proof.cells))
    texts = {(cell.flag, cell.size): cell.text for cell in proof.cells}
    rows = [
        (get_dataset(flag).title, *(texts.get((flag, size), "no official file") for size in sizes))
        for flag in dict.fromkeys(cell.flag for cell in proof.cells)
    ]
    return ("dataset", *(f"{size} px" for size in sizes)), rows


def lines(proof: Proof) -> list[str]:
    """One line per difference, then one per missing requirement.

    Parameters
    ----------
    proof : Proof

    Returns
    -------
    list of str

    Examples
    --------
    >>> from mmtk.proof import lines, prove
    >>> lines(prove("breastmnist", sizes=[28]))[-1]
    'missing: official files: mmtk fetch breastmnist --size 28 --out DIR'
    """
    return [*_differences(proof.differences), *(f"missing: {text}" for text in _needs(proof.needs))]


def markdown(proof: Proof) -> str:
    """The table in Markdown, with an explanation of its terms and the lines of `lines` as lists.

    Parameters
    ----------
    proof : Proof

    Returns
    -------
    str

    Examples
    --------
    >>> from mmtk.proof import markdown, prove
    >>> markdown(prove("breastmnist", sizes=[28])).splitlines()[2]
    '| BreastMNIST | nothing |'
    """
    heads, rows = table(proof)
    aligned = [heads, ("---",) * len(heads), *rows]
    text = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in aligned]
    present = {evidence.kind for cell in proof.cells for evidence in cell.evidence}
    used = [kind for kind in KINDS if kind in present]
    text += ["", *(f"* **{'MD5' if kind == 'md5' else kind}**: {KINDS[kind]}" for kind in used)]
    differing, missing = list(_differences(proof.differences)), list(_needs(proof.needs))
    for head, items in (("What differs:", differing), ("Missing to prove the rest:", missing)):
        text += ["", head, "", *(f"* {line}" for line in items)] if items else []
    return "\n".join(text) + "\n"


def _differences(differences: Iterable[Difference]) -> Iterator[str]:
    by_cell: dict[tuple[str, int, str], list[Difference]] = {}
    for item in differences:
        by_cell.setdefault((item.flag, item.size, item.kind), []).append(item)
    for (flag, size, kind), items in by_cell.items():
        for item in items[:_SHOWN]:
            row = f" {item.split}, {item.source}:" if item.source else f" {kind}:"
            yield f"differs: {flag} {size} px,{row} {item.reason}" + (f"; see {item.picture}" if item.picture else "")
        if len(items) > _SHOWN:
            yield f"differs: {flag} {size} px, {len(items) - _SHOWN:,} more rows; --json lists them"


def _needs(needs: Iterable[Requirement]) -> Iterator[str]:
    """Raw files grouped by source, official files grouped by missing sizes, so that nothing is repeated."""
    sizes: dict[str, list[int]] = {}
    texts: dict[str, list[str]] = {}
    for need in needs:
        if need.size is not None:
            sizes.setdefault(need.flag, []).append(need.size)
        else:
            texts.setdefault(need.text, []).append(need.flag)
    yield from (f"{', '.join(flags)}: {text}" for text, flags in texts.items())
    by_sizes: dict[tuple[int, ...], list[str]] = {}
    for flag, missing in sizes.items():
        by_sizes.setdefault(tuple(missing), []).append(flag)
    for missing_sizes, flags in by_sizes.items():
        options = " ".join(f"--size {size}" for size in missing_sizes)
        yield f"official files: mmtk fetch {' '.join(flags)} {options} --out DIR"
