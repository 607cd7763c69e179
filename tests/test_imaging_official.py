"""The pixels of the official MedMNIST files, bit for bit, from the providers' originals."""

from __future__ import annotations

import csv

import numpy as np

from mmtk.imaging import center_box, center_crop, read_image, resize, round_trip


def test_every_busi_original_gives_its_official_row(real_data):
    with (real_data / "csv" / "breastmnist_to_BUSI_map.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    checked = 0
    with np.load(real_data / "npz" / "breastmnist.npz") as official:
        images = {split: official[f"{split}_images"] for split in ("train", "val", "test")}
    for row in rows:
        path = real_data / "sources" / "busi" / "Dataset_BUSI_with_GT" / row["source_file"]
        if path.exists():
            expected = images[row["split"]][int(row["index"])]
            image = read_image(path, colour=False)
            np.testing.assert_array_equal(resize(center_crop(image), (28, 28)), expected, row["source_file"])
            top, left, side = center_box(*image.shape)
            np.testing.assert_array_equal(resize(image, (28, 28), box=(top, left, side, side)), expected)
            checked += 1
    assert checked == 46


def test_every_kermany_original_stands_in_the_official_file(real_data):
    with np.load(real_data / "npz" / "pneumoniamnist.npz") as official:
        known = {image.tobytes() for split in ("train", "val", "test") for image in official[f"{split}_images"]}
    paths = sorted((real_data / "sources" / "kermany-cxr").rglob("*.jpeg"))
    assert len(paths) == 14
    for path in paths:
        small = round_trip(resize(center_crop(read_image(path, colour=False)), (28, 28)))
        assert small.tobytes() in known, path


def test_official_tiles_of_224_px_never_were_jpeg(real_data):
    """What has been through JPEG 75 hardly changes when it goes through once more; each of these tiles does."""
    montage = read_image(real_data / "tiles" / "retinamnist_224_montage2x2.png", colour=True)
    for tile in montage.reshape(2, 224, 2, 224, 3).swapaxes(1, 2).reshape(4, 224, 224, 3):
        once = round_trip(tile)
        first, second = (np.abs(a.astype(int) - b).mean() for a, b in ((once, tile), (round_trip(once), once)))
        assert first > 1.4
        assert first > 5 * second
