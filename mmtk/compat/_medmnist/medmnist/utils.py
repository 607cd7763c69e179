"""Stands for `mmtk.compat.medmnist.utils`: importing this package puts that module here."""
