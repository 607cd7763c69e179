"""Stands for `mmtk.compat.medmnist.dataset`: importing this package puts that module here."""
