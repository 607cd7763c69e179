"""Stands for `mmtk.compat.medmnist.evaluator`: importing this package puts that module here."""
