"""100 official OrganAMNIST tiles of 128 px: the grids they were enlarged from, by exact search."""

from __future__ import annotations

import numpy as np
import pytest

from mmtk.imaging import resize
from tests import lits44, reference, tiles

SQUARE = (tiles.SIDE, tiles.SIDE)


@pytest.fixture(scope="module")
def official(real_data):
    """Each tile with the sizes its grid can have."""
    if not (real_data / tiles.MONTAGE).is_file() or not (real_data / "npz/organamnist.npz").is_file():
        pytest.skip("the official tiles or the official OrganAMNIST are not here")
    return [(tile, tiles.sizes(tile)) for tile in tiles.official_tiles(real_data)]


@pytest.mark.slow
def test_one_grid_gives_tile_and_row_and_fits_a_box_of_the_organ(official, real_data):
    with np.load(real_data / "npz/organamnist.npz") as file:
        images, labels = file["train_images"], file["train_labels"][:, 0]
    boxes, recovered = tiles.boxes_by_size(real_data), {}
    fits = dict.fromkeys(("as it is", "of its organ", "transposed", "transposed, of its organ"), 0)
    for number, (tile, (size, *others)) in enumerate(official):
        (row,) = tiles.rows_of(tiles.values(tile, size), images)
        grid = tiles.grid(tile, size, images[row])
        assert (grid.shape, max(size) <= 120) == (size, True)
        assert np.array_equal(resize(grid, SQUARE, filter="bilinear"), tile), number
        assert np.array_equal(reference.nearest(grid, (28, 28)), images[row]), number
        if number % 20 == 7:
            assert np.array_equal(reference.resize(grid, SQUARE), tile), number
        recovered[row] = grid
        organ = lits44.ORGANS[labels[row]]
        fits["as it is"] += size in boxes
        fits["of its organ"] += organ in boxes.get(size, ())
        fits["transposed"] += size[::-1] in boxes
        fits["transposed, of its organ"] += organ in boxes.get(size[::-1], ())
        for other in others:  # hardly an enlargement: a smooth picture fits by chance
            assert other[1] >= 126
            assert other not in boxes
            possible = tiles.values(tile, other)
            assert possible is None or tiles.rows_of(possible, images).size == 0
    assert len(recovered) == 100
    assert sum(len(sizes) > 1 for _, sizes in official) == 10
    assert fits == {"as it is": 100, "of its organ": 100, "transposed": 30, "transposed, of its organ": 18}


@pytest.mark.slow
def test_no_tile_comes_from_the_vertical_pass_first(official):
    """Turned, a tile shows what the other order of the passes would need."""
    sizes = [size for tile, _ in official for size in tiles.sizes(np.ascontiguousarray(tile.T))]
    assert sizes == [(127, 126), (127, 127)]  # one smooth tile, by chance again


@pytest.mark.parametrize("size", [(5, 9), (43, 31), (26, 118), (100, 67), (119, 119), (127, 2)])
def test_the_search_keeps_the_truth_and_finds_a_grid(size):
    truth = np.random.default_rng(size).integers(0, 256, size).astype(np.uint8)
    tile = reference.resize(truth, SQUARE)
    assert size in tiles.sizes(tile)
    assert np.take_along_axis(tiles.values(tile, size), truth[..., None].astype(int), axis=2).all()
    assert np.array_equal(resize(tiles.grid(tile, size), SQUARE), tile)


def test_one_wrong_pixel_is_refuted():
    tile = reference.resize(np.random.default_rng(3).integers(0, 256, (40, 50)).astype(np.uint8), SQUARE)
    assert tiles.sizes(tile) == [(40, 50)]
    tile[77, 31] ^= 2
    assert tiles.values(tile, (40, 50)) is None
    assert tiles.grid(tile, (40, 50)) is None
    assert tiles.sizes(tile) == []
