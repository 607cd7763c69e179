"""Other libraries on mmtk's stores: run by ``make neighbours`` alone, and skipped where a library is not installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmtk import store
from tests import peers
from tests.small_stores import write_small_store

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let these libraries warn: of what they import, and of each other, nothing can be mended here."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore"))


@pytest.fixture
def small(tmp_path: Path) -> store.Store:
    """Grey images of two classes."""
    return store.open(write_small_store(tmp_path / "breastmnist_8.h5"))


@pytest.fixture
def coloured(tmp_path: Path) -> store.Store:
    """RGB images of five classes."""
    return store.open(write_small_store(
        tmp_path / "retinamnist_8.h5", flag="retinamnist", task="multi-class", classes=5, channels=3,
    ))


@pytest.fixture(autouse=True)
def vision() -> None:
    """torchvision first: most of these libraries import it, and beside a CPU build of torch it needs mmtk's help."""
    peers.torchvision()
