"""Stands for `mmtk.compat.medmnist.info`: importing this package puts that module here."""
