"""Your own data as a dataset: a TOML file describes where the images are, what they show and how they are processed."""

from mmtk.datasets.own._file import named, read_dataset
from mmtk.datasets.own.drafting import draft_dataset

__all__ = ["draft_dataset", "named", "read_dataset"]
