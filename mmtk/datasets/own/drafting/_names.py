"""The flag and the title of a drafted dataset, derived from the name of its folder."""

from __future__ import annotations

import re

from mmtk.datasets import find_dataset


def flag_of(name: str) -> str:
    """A flag derived from a folder's name that is not taken."""
    flag = re.sub("[^a-z0-9]+", "_", name.lower()).strip("_") or "data"
    flag = (flag if flag[0].isalpha() else f"data_{flag}")[:60]
    return f"{flag}_own" if find_dataset(flag) is not None else flag


def title_of(name: str) -> str:
    """A title derived from a folder's name, of printable characters."""
    title = " ".join("".join(c if c.isprintable() else " " for c in name).replace("_", " ").split())
    return title[:1].upper() + title[1:] or "Data"
