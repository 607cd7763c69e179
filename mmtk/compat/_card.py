"""The texts of a shared dataset: its card for hubs, its licence and its citation."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mmtk.datasets.base import Task
from mmtk.datasets.marks import PARTIAL, SYNTHETIC, UNPUBLISHED
from mmtk.store import Store, StoreInfo

_CC = re.compile(r"CC[ -](BY(?:-NC)?(?:-SA|-ND)?)[ -](\d\.\d)", re.IGNORECASE)
_ZERO = re.compile(r"CC0(?:[ -]1\.0)?", re.IGNORECASE)
_OTHERS = {
    "mit": ("mit", "https://opensource.org/license/mit"),
    "apache-2.0": ("apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0"),
    "odc-by": ("odc-by", "https://opendatacommons.org/licenses/by/1-0/"),
    "odbl": ("odbl", "https://opendatacommons.org/licenses/odbl/1-0/"),
    "pddl": ("pddl", "https://opendatacommons.org/licenses/pddl/1-0/"),
}
_NONE = {"", "-", "?", "none", "no", "unknown", "not known", "not stated", "unlicensed", "unlicenced", "todo", "tbd"}
_SIZES = (
    (1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)
_MEANING = {
    SYNTHETIC: "The images were drawn by a program and show no patients: they are for testing software.",
    PARTIAL: "This is only a part of the dataset.",
    UNPUBLISHED: "This comes from a file that is not the published one: images, labels and their order may differ.",
}


def has_licence(info: StoreInfo) -> bool:
    """Whether a store's facts include a licence."""
    return info.licence.strip().lower() not in _NONE


def licence_of(text: str) -> tuple[str, str]:
    """A hub's identifier of a licence, ``other`` if there is none, and its web page, empty if unknown."""
    text = text.strip()
    if named := _CC.fullmatch(text):
        kind, version = named[1].lower(), named[2]
        return f"cc-{kind}-{version}", f"https://creativecommons.org/licenses/{kind}/{version}/"
    if _ZERO.fullmatch(text):
        return "cc0-1.0", "https://creativecommons.org/publicdomain/zero/1.0/"
    return _OTHERS.get(text.lower(), ("other", ""))


def licence_text(info: StoreInfo) -> str:
    """The file LICENSE.txt: the licence in the source's words, its page, and the source of the images."""
    _, page = licence_of(info.licence)
    lines = [f"Licence: {info.licence}", page or info.page, f"Source: {info.source}" if info.source else "", info.marks]
    return "".join(f"{line}\n" for line in lines if line)


def citation_text(info: StoreInfo) -> str:
    """The file CITATION.bib; a citation in BibTeX is used as it is."""
    if info.citation.lstrip().startswith("@"):
        return f"{info.citation}\n"
    values = {"title": info.title, "note": info.citation, "howpublished": info.page}
    fields = [f"  {name} = {{{_tex(value)}}},\n" for name, value in values.items() if value]
    return f"@misc{{{info.flag},\n{''.join(fields)}}}\n"


def _tex(text: str) -> str:
    names = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(names.get(letter, f"\\{letter}" if letter in "&%$#_{}" else letter) for letter in text)


def card_text(store: Store, features: Sequence[Mapping[str, Any]], files: Mapping[str, str], hidden: bool) -> str:
    """The file README.md: YAML for hubs, then a description in Markdown.

    Parameters
    ----------
    store : Store
    features : sequence of mappings
        The columns as described in YAML by the ``datasets`` package.
    files : mapping of split to pattern
        The files of each split, with the hubs' names of splits.
    hidden : bool
        Whether sources and subjects are keyed hashes.
    """
    return f"---\n{_front_matter(store, features, files)}---\n\n{_body(store, hidden)}"


def _front_matter(store: Store, features: Sequence[Mapping[str, Any]], files: Mapping[str, str]) -> str:
    info = store.info
    name, page = licence_of(info.licence)
    total = sum(store.counts.values())
    unnamed = {"license_name": info.licence, **({"license_link": page or info.page} if page or info.page else {})}
    kind = Task.MULTILABEL if info.labels > 1 else Task.MULTICLASS
    task = f"{kind.partition(',')[0]}-image-classification"
    values = {
        "pretty_name": info.title,
        "license": name,
        **(unnamed if name == "other" else {}),
        "task_categories": ["image-classification"],
        **({"task_ids": [task]} if info.task != Task.ORDINAL else {}),
        "tags": ["medical", "mmtk", _slug(info.modality), *map(str.lower, info.marks.split())],
        "size_categories": [next((word for below, word in _SIZES if total < below), "n>10M")],
        "configs": [{
            "config_name": "default", "data_files": [{"split": split, "path": path} for split, path in files.items()],
            "features": list(features),
        }],
    }
    # JSON is valid YAML, and quotes untrusted text safely
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in values.items())


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "image"


def _body(store: Store, hidden: bool) -> str:
    info = store.info
    marks = [f"> **{mark}**: {_MEANING[mark]}\n" for mark in info.marks.split()]
    kind = "grey" if info.channels == 1 else "colour"
    intro = f"{info.modality}, {info.size} x {info.size} px, {kind}; {info.task}.\n"
    names = "`source` names the file of a row, and `subject`, where there is one, the patient"
    if hidden:
        names += (
            ", both as keyed hashes (HMAC-SHA256): equal names have equal hashes, but without the key, which is not "
            "part of this dataset, nobody can recover or guess them"
        )
    recipe = info.recipe if info.recipe != "[]" else "not known"
    provenance = {
        "source": info.source, "page": info.page, "pixels": info.pixels, "edition": info.edition, "split": info.split,
        "rows": info.membership, "recipe": f"`{recipe}`", "SHA-256 of the recipe": info.recipe_hash,
        "SHA-256 of the store": "" if hidden else store.digest,  # would confirm a guess of all names
        "not checked": "; ".join(info.unchecked),
        "written by": f"mmtk {info.mmtk_version}",
    }
    return "\n".join([
        f"# {_md(info.title)}\n", *marks, f"{_md(intro)}", "## Classes\n", _class_table(store), f"{names}.\n",
        "## Where it comes from\n",
        "".join(f"- {key}: {value if key == 'recipe' else _md(value)}\n" for key, value in provenance.items() if value),
        "## Licence\n", f"{_md(info.licence)}\n", *(["## Citation\n", f"{_md(info.citation)}\n"] * bool(info.citation)),
    ])


def _class_table(store: Store) -> str:
    info = store.info
    splits = [split for split in store.splits if len(split)]
    rows = [["label", "name", *(split.name for split in splits)], ["---"] * (2 + len(splits))]
    for number, name in enumerate(info.classes):
        columns = (s.labels[:, number] if info.labels > 1 else s.labels[:, 0] == number for s in splits)
        rows.append([str(number), _md(name), *(str(int(column.sum(dtype=int))) for column in columns)])
    rows.append(["", "images", *(str(len(split)) for split in splits)])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _md(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", text)
