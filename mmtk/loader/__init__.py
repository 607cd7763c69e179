"""From a mapped split to tensors: `Batches` for speed, `SplitDataset` for any DataLoader."""

from mmtk.loader._batches import Batches
from mmtk.loader._dataset import SplitDataset
from mmtk.loader._order import permutation

__all__ = ["Batches", "SplitDataset", "permutation"]
