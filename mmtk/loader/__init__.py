"""Load splits in batches: `Batches` for speed, `ArrayBatches` without torch, `SplitDataset` for any DataLoader."""

from mmtk.loader._arrays import ArrayBatches
from mmtk.loader._augment import Augmentation
from mmtk.loader._batches import Batches
from mmtk.loader._data import Data, interleaved, join
from mmtk.loader._dataset import SplitDataset
from mmtk.loader._order import permutation, windowed
from mmtk.loader._torch import MapDataset

__all__ = [
    "ArrayBatches", "Augmentation", "Batches", "Data", "MapDataset", "SplitDataset", "interleaved", "join",
    "permutation", "windowed",
]
