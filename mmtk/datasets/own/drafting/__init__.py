"""Draft a dataset file for a folder: what it contains, how it is laid out, and what the user has to fill in."""

from mmtk.datasets.own.drafting._draft import draft_dataset

__all__ = ["draft_dataset"]
