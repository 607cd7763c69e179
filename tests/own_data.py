"""Somebody's own data, drawn small: pictures whose class can be seen, their tables, and dataset files for them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

HEAD = {
    "flag": "lungclinic", "title": "Lung clinic", "modality": "chest X-ray", "task": "binary-class",
    "classes": ["normal", "sick"], "licence": "CC BY 4.0",
}
TABLE = {"file": "labels.csv", "column": "file", "prefix": "images/", "label": "label", "subject": "patient"}


def drawing(number: int, sick: bool, side: int = 48) -> NDArray[np.uint8]:
    """A picture of its own, brighter at the right where it is sick."""
    rng = np.random.default_rng(number)
    pixels = rng.integers(20, 120, (side, side + 8), dtype=np.uint8)
    pixels[:, side // 2 :] += np.uint8(100 * sick)
    return pixels


def write(path: Path, pixels: NDArray[np.generic]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def rows(patients: int = 12, images: int = 2) -> list[tuple[str, str, str]]:
    """File, patient and class of each image; patients come in turns of both classes."""
    return [
        (f"im{p:02d}_{n}.png", f"P{p:02d}", ("normal", "sick")[p % 2]) for p in range(patients) for n in range(images)
    ]


def draw_table(
    folder: Path, lines: Iterable[tuple[str, ...]] | None = None, header: str = "file,patient,label"
) -> Path:
    """A folder ``images`` and ``labels.csv`` beside it."""
    for number, (name, _, kind) in enumerate(rows()):
        write(folder / "images" / name, drawing(number, kind == "sick"))
    text = "\n".join([header, *(",".join(line) for line in (rows() if lines is None else lines))])
    (folder / "labels.csv").write_text(text + "\n")
    return folder


def toml(path: Path, **tables: object) -> Path:
    """A dataset file: `HEAD` with what is given in its place; None leaves a key out."""
    values = {**HEAD, **tables}
    plain = {key: value for key, value in values.items() if not isinstance(value, dict) and value is not None}
    lines = [f"{key} = {_text(value)}" for key, value in plain.items()]
    for name, table in values.items():
        if isinstance(table, dict):
            lines += [f"[{name}]", *(f"{key} = {_text(value)}" for key, value in table.items() if value is not None)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _text(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}" = {_text(inner)}' for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_text, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' if isinstance(value, str) else repr(value)
