"""Views brought to the size that a policy was trained on, each with the camera that took it as it now is.

A picture of another shape is cropped about its middle first, so that nothing is squeezed. Pixel centres lie at
integers: the picture's border is half a pixel outside the centres of its first and last pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from PIL import Image

from gnfactor.errors import ObservationError
from gnfactor.scene import Camera, View


@dataclass(frozen=True)
class Crop:
    """The part of a picture that is kept, in whole pixels."""

    left: int
    top: int
    width: int
    height: int


def middle_crop(width: int, height: int, image_size: tuple[int, int]) -> Crop:
    """The largest part about the middle with the shape of `image_size` (width, height), to within a pixel."""
    wanted_width, wanted_height = image_size
    kept_width = max(min(width, round(height * wanted_width / wanted_height)), 1)
    kept_height = max(min(height, round(width * wanted_height / wanted_width)), 1)
    return Crop((width - kept_width) // 2, (height - kept_height) // 2, kept_width, kept_height)


def fit_camera(camera: Camera, image_size: tuple[int, int]) -> Camera:
    """The camera of the same picture cropped about its middle and brought to `image_size` (width, height)."""
    crop = middle_crop(camera.width, camera.height, image_size)
    across, down = image_size[0] / crop.width, image_size[1] / crop.height
    to_new = np.array(
        [
            [across, 0, across * (0.5 - crop.left) - 0.5],
            [0, down, down * (0.5 - crop.top) - 0.5],
            [0, 0, 1],
        ]
    )
    return Camera(to_new @ camera.intrinsics, camera.world_from_camera, *image_size)


def fit_view(name: str, view: View, image_size: tuple[int, int]) -> View:
    """The view cropped about its middle and made smaller to `image_size` (width, height).

    Colours are averaged. Depths and labels are those of the nearest pixel, at most half a pixel of the old picture away
    in each direction: a mean of two surfaces would be a surface that is not there.

    Args:
        name: of the camera, for the error.
        view: is returned as it is where it has that size.
        image_size: wanted width and height.

    Raises:
        ObservationError: the picture would have to be enlarged.
    """
    camera = view.camera
    if (camera.width, camera.height) == image_size:
        return view
    crop = middle_crop(camera.width, camera.height, image_size)
    if crop.width < image_size[0] or crop.height < image_size[1]:
        raise ObservationError(
            f"camera '{name}' gives {camera.width}x{camera.height} pixels, the policy was trained on "
            f"{image_size[0]}x{image_size[1]}; let the camera give pictures that are not smaller"
        )
    box = (crop.left, crop.top, crop.left + crop.width, crop.top + crop.height)
    rgb = np.array(Image.fromarray(view.rgb).resize(image_size, Image.Resampling.BILINEAR, box=box))
    rows = _nearest(crop.top, crop.height, image_size[1])[:, None]
    columns = _nearest(crop.left, crop.width, image_size[0])
    labels = None if view.segmentation is None else view.segmentation[rows, columns]
    return View(fit_camera(camera, image_size), rgb, view.depth_m[rows, columns], labels)


def _nearest(first: int, kept: int, wanted: int) -> Int[np.ndarray, "wanted"]:
    """The old pixel in which the centre of each new one lies."""
    return first + ((np.arange(wanted) + 0.5) * kept / wanted).astype(np.int64)
