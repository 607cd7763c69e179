"""The fuzz targets hold on their seeds and on seeds with a few bytes changed; ``make fuzz`` goes on from there."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from tests.fuzz import TARGETS, once


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_reads_its_seeds_and_survives_their_like(name):
    target = importlib.import_module(f"tests.fuzz.{name}")
    seeds = list(target.seeds())
    assert all(once(target, seed) for seed in seeds)
    rng = np.random.default_rng(0)
    read = 0
    for _ in range(400):
        data = bytearray(seeds[rng.integers(len(seeds))])
        for at in rng.integers(0, len(data), rng.integers(1, 5)):
            data[at] = rng.integers(256)
        read += once(target, bytes(data[: rng.integers(1, 2 * len(data))]))
    assert 0 < read < 400
