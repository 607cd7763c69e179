"""From a folder to the draft of a dataset file: what lies there, how it is laid out, and what is still to be said."""

from mmtk.datasets.own.drafting._draft import draft_dataset

__all__ = ["draft_dataset"]
