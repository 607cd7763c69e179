"""Export a store as a folder to share: Hugging Face's layout with a dataset card, and Croissant for mlcroissant.

File and subject names may identify people, and a plain hash of them can be reversed by trial, since there are only so
many hospital numbers. Therefore they are exported as HMAC-SHA256 with a random key, truncated to 128 bits. The key is
kept beside the stores as ``{flag}.key``, readable by its owner only, and is never part of the export. It is the same
for all sizes and exports of a dataset from that folder: a subject has the same hash in each, so nobody who combines two
of them trains and tests on the same patient, and repeated exports give equal names to equal rows. With the key, a
patient can be found by the hash, for instance when consent is withdrawn; without it, that is impossible.
"""

from __future__ import annotations

import csv
import filecmp
import hmac
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from mmtk.compat._card import card_text, citation_text, has_licence, licence_text
from mmtk.compat.croissant import shared_croissant
from mmtk.datasets.official import SPLIT_WORDS
from mmtk.errors import ArgumentError, MmtkError, StoreError
from mmtk.files import as_store_error, publish, publish_folder, sync_folder, writing
from mmtk.store import Split, Store

FORMS = ("imagefolder", "parquet")
_KEY_BYTES = 32
_HASH_DIGITS = 32  # hexadecimal
_GROUP = 256  # rows per row group of a Parquet file
_TEXTS = {"README.md", "LICENSE.txt", "CITATION.bib", "croissant.json"}
Names = Callable[[str, bytes], str | None]  # from a record's field and value to its exported text


def export_hub(
    store: Store, out: str | Path, form: str = "imagefolder", *, keep_names: bool = False, force: bool = False
) -> Path:
    """Write a store as a folder that ``datasets.load_dataset`` and ``mlcroissant`` can load.

    It holds the images (``data/{split}/*.png`` with ``metadata.csv``, or ``data/{split}.parquet``), ``README.md`` (the
    dataset card), ``LICENSE.txt``, ``CITATION.bib`` if there is a citation, and ``croissant.json``. A row has
    ``image``, ``label`` (for multi-label tasks one 0/1 column per label, ``label_{class}``), ``source``, and
    ``subject`` if subjects are known. Equal stores and keys give equal folders.

    Parameters
    ----------
    store : Store
        Its facts must include a licence.
    out : path
        The folder to share; its parents are created if needed.
    form : {"imagefolder", "parquet"}
        "parquet" suits more than about ten thousand images, and needs the extra ``huggingface``.
    keep_names : bool
        Export sources and subjects as they are; by default they are replaced by keyed hashes, see the module.
    force : bool
        Overwrite a different shared folder; an equal one is kept.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    ArgumentError
        If the form is unknown.
    StoreError
        If the store has no licence, no rows, or volumes, other files exist there, or the disk is full or cannot be
        written.
    MmtkError
        If the package for Parquet is missing.

    Examples
    --------
    >>> import mmtk
    >>> folder = mmtk.compat.export_hub(mmtk.open("stores/breastmnist_28.h5"), "shared")
    >>> sorted(path.name for path in folder.iterdir())
    ['CITATION.bib', 'LICENSE.txt', 'README.md', 'croissant.json', 'data']
    """
    if form not in FORMS:
        raise ArgumentError("form", expected=" or ".join(FORMS), found=form)
    info, final = store.info, Path(out) if Path(out).name else Path(out).absolute()
    if info.ndim == 3:
        remedy = "share the .npz of export --to npz instead"
        raise StoreError(store.path, "holds volumes, which a shared folder of PNG files cannot hold", remedy=remedy)
    if not has_licence(info):
        given = f" ({info.licence})" if info.licence.strip() else ""
        remedy = "add the key licence to its dataset file and build it again with --force"
        raise StoreError(store.path, f"has no licence{given}, so it cannot be shared", remedy=remedy)
    if not any(store.counts.values()):
        raise StoreError(store.path, "has no images to share")
    if form == "parquet":
        _pyarrow()
    names = _plain if keep_names else _hashed(_key(store))
    _expect_replaceable(final)
    with writing(final, folder=True) as folder:
        files = _write(store, folder, form, names)
        texts = {
            "README.md": card_text(store, _features(store), files, not keep_names), "LICENSE.txt": licence_text(info),
            **({"CITATION.bib": citation_text(info)} if info.citation else {}),
        }
        for name, text in texts.items():
            _write_synced(folder / name, text.encode())
        described = json.dumps(shared_croissant(store, folder, form, columns(store)), indent=2)
        _write_synced(folder / "croissant.json", f"{described}\n".encode())
        sync_folder(folder)
        if final.exists() and not _is_equal(final, folder):
            if any(final.iterdir()) and not force:
                raise StoreError(final, "exists with other content", remedy="use --force to overwrite it")
            publish_folder(folder, final)
        elif not final.exists():
            publish_folder(folder, final)
    return final


def columns(store: Store) -> dict[str, str]:
    """The columns of a shared row besides its image, in order, with the kind of each: label, source or subject."""
    info = store.info
    labels = [f"label_{name}" for name in info.classes] if info.labels > 1 else ["label"]
    known = any(split.records["subject"].any() for split in store.splits)
    return {**dict.fromkeys(labels, "label"), "source": "source", **({"subject": "subject"} if known else {})}


def _features(store: Store) -> list[dict[str, Any]]:
    names = {str(number): name for number, name in enumerate(store.info.classes)}
    label: Any = {"class_label": {"names": names}} if store.info.labels == 1 else "int64"
    rest = ({"name": name, "dtype": label if kind == "label" else "string"} for name, kind in columns(store).items())
    return [{"name": "image", "dtype": "image"}, *rest]


# --------------------------------------------------------------------- names


def _plain(_: str, value: bytes) -> str | None:
    return value.decode("utf-8", "backslashreplace") or None


def _hashed(key: bytes) -> Names:
    def name(field: str, value: bytes) -> str | None:
        # the field is hashed too, so that a subject and a file of the same name get different hashes
        code = hmac.new(key, field.encode() + b"\0" + value, "sha256").hexdigest()
        return code[:_HASH_DIGITS] if value else None

    return name


def _key(store: Store) -> bytes:
    """The key of a store's dataset, created if there is none."""
    path = store.path.absolute().parent / f"{store.info.flag}.key"
    with as_store_error(path):
        if not path.exists():
            _make_key(path)
        try:
            key = bytes.fromhex(path.read_text(encoding="ascii"))
        except ValueError:
            key = b""
    if len(key) != _KEY_BYTES:
        remedy = "move it away to get new hashes, or use --keep-names"
        raise StoreError(path, f"is not a key of {2 * _KEY_BYTES} hexadecimal digits", remedy=remedy)
    return key


def _make_key(path: Path) -> None:
    """Create a key that only its owner can read, unless another process was first: it may have used its key already."""
    with writing(path) as temporary:
        with suppress(OSError):
            temporary.chmod(0o600)
        _write_synced(temporary, f"{secrets.token_hex(_KEY_BYTES)}\n".encode())
        try:
            os.link(temporary, path)  # unlike renaming, this never overwrites
        except FileExistsError:
            return
        except OSError:  # a file system without links
            publish(temporary, path)
        sync_folder(path.parent)


# --------------------------------------------------------------------- files


def _write(store: Store, folder: Path, form: str, names: Names) -> dict[str, str]:
    """Write the images; return the pattern of each split's files, by the hubs' names of splits."""
    (folder / "data").mkdir()
    files = {}
    for split in store.splits:
        if len(split):
            word = SPLIT_WORDS[split.name].lower()
            if form == "parquet":
                _write_parquet(store, split, folder / "data" / f"{word}.parquet", names)
                files[word] = f"data/{word}.parquet"
            else:
                _write_images(store, split, folder / "data" / word, names)
                files[word] = f"data/{word}/**"
    sync_folder(folder / "data")
    return files


def _rows(store: Store, split: Split, names: Names) -> Iterator[tuple[bytes, list[Any]]]:
    """The PNG and the other columns of each row."""
    import cv2

    fields = [kind for kind in columns(store).values() if kind != "label"]
    for image, label, record in zip(split.images, split.labels, split.records, strict=True):
        data = cv2.imencode(".png", np.ascontiguousarray(image if image.ndim == 2 else image[..., ::-1]))[1].tobytes()
        yield data, [*map(int, label), *(names(field, record[field]) for field in fields)]


def _write_images(store: Store, split: Split, folder: Path, names: Names) -> None:
    folder.mkdir()
    digits = len(str(len(split) - 1))
    with (folder / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(["file_name", *columns(store)])
        for row, (data, values) in enumerate(_rows(store, split, names)):
            (folder / f"{row:0{digits}}.png").write_bytes(data)
            lines.writerow([f"{row:0{digits}}.png", *values])
        file.flush()
        os.fsync(file.fileno())
    sync_folder(folder)


def _write_parquet(store: Store, split: Split, path: Path, names: Names) -> None:
    pa, parquet = _pyarrow()
    kinds = columns(store)
    types = {name: pa.int64() if kind == "label" else pa.string() for name, kind in kinds.items()}
    image = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    features = json.dumps({"info": {"features": _in_parquet(store)}})
    schema = pa.schema({"image": image, **types}, {"huggingface": features})
    rows = _rows(store, split, names)
    with parquet.ParquetWriter(path, schema) as writer:
        for start in range(0, len(split), _GROUP):
            taken = [next(rows) for _ in range(start, min(start + _GROUP, len(split)))]
            table = {"image": [{"bytes": data, "path": None} for data, _ in taken]}
            table |= {name: [values[i] for _, values in taken] for i, name in enumerate(kinds)}
            writer.write_table(pa.table(table, schema))
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _in_parquet(store: Store) -> Mapping[str, Any]:
    """The columns as described in a Parquet file by the ``datasets`` package."""
    number = {"dtype": "int64", "_type": "Value"}
    label = number if store.info.labels > 1 else {"names": list(store.info.classes), "_type": "ClassLabel"}
    text = {"dtype": "string", "_type": "Value"}
    rest = {name: label if kind == "label" else text for name, kind in columns(store).items()}
    return {"image": {"_type": "Image"}, **rest}


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MmtkError.not_installed("--as parquet", "pyarrow", "huggingface") from None
    return pyarrow, pyarrow.parquet


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _expect_replaceable(final: Path) -> None:
    """Refuse to overwrite anything but an export, even with `force`."""
    if not final.exists():
        return
    if not final.is_dir():
        raise StoreError(final, "is a file, not a folder", remedy="choose another --out")
    other = sorted({path.name for path in final.iterdir()} - _TEXTS - {"data"})
    data = final / "data"
    if not other and data.is_dir():
        wanted = {f"{word.lower()}{end}" for word in SPLIT_WORDS.values() for end in ("", ".parquet")}
        other = sorted(f"data/{path.name}" for path in data.iterdir() if path.name not in wanted)
    if not other and data.exists() and not (final / "croissant.json").exists():
        other = ["data without croissant.json"]
    if other:
        remedy = "choose another --out or move the folder away"
        raise StoreError(final, f"will not be overwritten: it holds {other[0]}, not just an export", remedy=remedy)


def _is_equal(folder: Path, other: Path) -> bool:
    names = [sorted(p.relative_to(top).as_posix() for p in top.rglob("*") if not p.is_dir()) for top in (folder, other)]
    return names[0] == names[1] and filecmp.cmpfiles(folder, other, names[0], shallow=False)[1:] == ([], [])
