"""Stands for `mmtk.compat.medmnist.__main__`: importing this package puts that module here."""
