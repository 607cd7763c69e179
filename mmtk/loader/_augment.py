"""Augmentation of whole batches on their device, with independent random draws per image, derived from a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from mmtk.errors import ArgumentError
from mmtk.loader._torch import import_torch


@dataclass(frozen=True)
class Augmentation:
    """Random flips, rotation, shifted crop and colour jitter, drawn independently for each image or volume of a batch.

    The operations are those of ``torchvision.transforms.v2`` (``RandomHorizontalFlip``, ``RandomVerticalFlip``,
    ``RandomRotation`` with bilinear interpolation, ``RandomCrop`` with padding, ``ColorJitter``), whose classes draw
    once for all images of a batch. Pixels from outside an image are black. A volume is flipped along its last two axes
    and cropped along all three; it is not rotated.

    Parameters
    ----------
    horizontal, vertical : float
        Probability of a flip.
    rotation : float
        Maximum angle in degrees, either way.
    padding : int
        Pixels added on every side before a random crop of the original size.
    colour : float
        Brightness, contrast and saturation of RGB images are scaled by a factor between ``1 - colour`` and
        ``1 + colour``; grey images are not changed.

    Raises
    ------
    ArgumentError
        If a value is out of range.

    Examples
    --------
    >>> import mmtk, torch
    >>> augment = mmtk.loader.Augmentation(horizontal=1.0)
    >>> augment(torch.tensor([[[[1, 2, 3]]]], dtype=torch.uint8)).tolist()
    [[[[3, 2, 1]]]]
    """

    horizontal: float = 0.5
    vertical: float = 0.0
    rotation: float = 0.0
    padding: int = 0
    colour: float = 0.0

    def __post_init__(self) -> None:
        limits = {"horizontal": 1.0, "vertical": 1.0, "rotation": 180.0, "padding": 1000, "colour": 1.0}
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 <= value <= limits[field.name]:
                raise ArgumentError(field.name, expected=f"0 to {limits[field.name]}", found=repr(value))

    def expect(self, ndim: int) -> None:
        """Check that all operations are available for images of `ndim` dimensions.

        Raises
        ------
        ArgumentError
            If volumes are to be rotated.
        """
        if ndim == 3 and self.rotation:
            raise ArgumentError("rotation", "is not available for volumes", expected="0", found=f"{self.rotation:g}")

    def __call__(self, images: Any, generator: Any = None) -> Any:
        """Augment images.

        Parameters
        ----------
        images : (b, c, h, w) or (b, c, d, h, w) uint8 tensor
        generator : torch.Generator, optional
            A generator on the CPU, so that draws do not depend on the device.

        Returns
        -------
        uint8 tensor of the same shape

        Raises
        ------
        ArgumentError
            If volumes are to be rotated.
        """
        torch = import_torch()
        self.expect(images.ndim - 2)
        draws = torch.rand((8, len(images)), generator=generator).to(images.device, non_blocking=True)
        horizontal, vertical, angle, down, right, *colours = draws
        if self.horizontal:
            images = torch.where(_per_image(horizontal < self.horizontal, images), images.flip(-1), images)
        if self.vertical:
            images = torch.where(_per_image(vertical < self.vertical, images), images.flip(-2), images)
        if self.rotation:
            images = rotate(images, (2 * angle - 1) * self.rotation)
        if self.padding:
            places = 2 * self.padding + 1
            inward = colours[:1] if images.ndim == 5 else []  # volumes have no colour to draw
            shifts = [(draw * places).long().clamp_(max=places - 1) for draw in (*inward, down, right)]
            images = crop(images, self.padding, *shifts)
        if self.colour and images.shape[1] == 3:
            images = jitter(images, *(1 + (2 * draw - 1) * self.colour for draw in colours))
        return images


def rotate(images: Any, degrees: Any) -> Any:
    """Rotate each image counter-clockwise by its own angle, with bilinear interpolation and black borders."""
    torch = import_torch()
    height, width = images.shape[2:]
    angle = torch.deg2rad(degrees)[:, None, None]
    y = (torch.arange(height, device=images.device) - (height - 1) / 2)[None, :, None]
    x = (torch.arange(width, device=images.device) - (width - 1) / 2)[None, None, :]
    cos, sin = torch.cos(angle), torch.sin(angle)
    grid = torch.stack(((cos * x - sin * y) / (width / 2), (sin * x + cos * y) / (height / 2)), dim=-1)
    turned = torch.nn.functional.grid_sample(images.float(), grid, mode="bilinear", align_corners=False)
    return turned.round_().clamp_(0, 255).to(images.dtype)


def crop(images: Any, padding: int, *shifts: Any) -> Any:
    """Pad images with black and crop each to its original size, at its own offset along each axis."""
    torch = import_torch()
    edges = images.shape[2:]
    padded = torch.nn.functional.pad(images.movedim(1, -1), (0, 0, *(padding, padding) * len(edges)))
    index = [torch.arange(len(images), device=images.device).view(-1, *(1,) * len(edges))]
    for axis, (edge, shift) in enumerate(zip(edges, shifts, strict=True)):
        places = torch.arange(edge, device=images.device) + shift[:, None]
        index.append(places.view(len(images), *(edge if other == axis else 1 for other in range(len(edges)))))
    return padded[tuple(index)].movedim(-1, 1)


def jitter(images: Any, brightness: Any, contrast: Any, saturation: Any) -> Any:
    """Scale brightness, contrast around the mean luma, and saturation around the luma of each RGB image."""
    torch = import_torch()

    def blend(pixels: Any, other: Any, share: Any) -> Any:
        share = _per_image(share, pixels)
        return (pixels * share + other * (1 - share)).clamp_(0, 255).floor_()

    def luma(pixels: Any) -> Any:
        weights = torch.tensor((0.2989, 0.587, 0.114), device=pixels.device).view(1, 3, 1, 1)
        return (pixels * weights).sum(1, keepdim=True).floor_()

    pixels = blend(images.float(), 0.0, brightness)
    pixels = blend(pixels, luma(pixels).mean((1, 2, 3), keepdim=True), contrast)
    return blend(pixels, luma(pixels), saturation).to(images.dtype)


def _per_image(values: Any, images: Any) -> Any:
    """One value per image, shaped to broadcast over its pixels."""
    return values.view(-1, *(1,) * (images.ndim - 1))


def seeded(augment: Callable[..., Any], images: Any, key: tuple[int, ...]) -> Any:
    """Augment a batch with randomness that depends only on `key`; torch's own generators are not affected."""
    torch = import_torch()
    seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))
    if isinstance(augment, Augmentation):
        return augment(images, torch.Generator().manual_seed(seed))
    on_cuda = images.device.type == "cuda"
    with torch.random.fork_rng(devices=[images.device] if on_cuda else []):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would also seed all other devices
        if on_cuda:
            with torch.cuda.device(images.device):
                torch.cuda.manual_seed(seed)
        return augment(images)
