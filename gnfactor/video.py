"""Pictures with words on them, and files that show them in order.

Videos are WebM (VP8): every browser plays them, and the encoder in OpenCV's wheel is permissively licensed, which
that of most H.264 writers is not.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from io import BytesIO
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from gnfactor.errors import DataError, MissingExtraError
from gnfactor.files import write_file

if TYPE_CHECKING:
    import cv2

Picture = UInt8[np.ndarray, "_ _ 3"]
"""Height, width, RGB; the sizes of two pictures in one signature need not agree."""

_BACKGROUND = (24, 24, 28)
_INK = (240, 240, 240)
_MARGIN = 6
_GAP = 6
"""Pixels between pictures that stand side by side."""


def write_video(path: Path, frames: Iterable[Picture], fps: int | float) -> None:
    """Write pictures (RGB, all of one size) as a WebM file; the file appears only when it is whole.

    Folders on the way are made. Frames are taken one at a time, so that a generator needs no memory; pictures with an
    odd width or height gain one black column or row.

    Raises:
        DataError: the file cannot be written there.
        MissingExtraError: OpenCV is not installed.
        ValueError: there are no frames, or they differ in size, or the name does not end in .webm.
    """
    path = Path(path)
    if path.suffix != ".webm":
        raise ValueError(f"videos are WebM: the name has to end in .webm, not {path.name!r}")
    partial = path.with_name(f".{path.stem}.partial-{os.getpid()}.webm")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            count = _encode(partial, frames, fps)
            if _frames_in(partial) < count:
                raise OSError(f"of {count} frames {_frames_in(partial)} were kept; is the disk full?")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"cannot write the video {path}: {error}; choose a folder that can be written to") from error


def write_png(path: Path, picture: Picture) -> None:
    """Write a picture; folders on the way are made.

    Raises:
        DataError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        encoded = BytesIO()
        Image.fromarray(picture).save(encoded, "PNG")
        write_file(path, encoded.getvalue())
    except OSError as error:
        raise DataError(f"cannot write the picture {path}: {error}; choose a folder that can be written to") from error


def caption(
    frame: Picture,
    lines: Sequence[str],
    rows: int | None = None,
    size: int = 14,
    ink: tuple[int, int, int] = _INK,
) -> Picture:
    """The picture with a dark strip of text below it, each of `lines` wrapped to the picture's width.

    Args:
        frame: the picture; it is not changed.
        lines: text; each starts on a row of its own.
        rows: height of the strip in rows of text, so that all frames of a video get one size although their text
            differs; text that does not fit is cut. None takes as many as needed.
        size: of the letters, in pixels.
        ink: their colour.
    """
    height, width = frame.shape[:2]
    font = ImageFont.load_default(size)
    text = [row for line in lines for row in wrap(line, width - 2 * _MARGIN, font)]
    count = len(text) if rows is None else rows
    row_height = round(size * 1.35)
    canvas = Image.new("RGB", (width, height + count * row_height + 2 * _MARGIN), _BACKGROUND)
    canvas.paste(Image.fromarray(frame), (0, 0))
    draw = ImageDraw.Draw(canvas)
    for index, row in enumerate(text[:count]):
        draw.text((_MARGIN, height + _MARGIN + index * row_height), row, fill=ink, font=font)
    return np.array(canvas)


def wrap(line: str, width: int | float, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[str]:
    """`line` broken between words so that each row is at most `width` pixels; a longer word keeps its own row."""
    rows = [""]
    for word in line.split():
        longer = f"{rows[-1]} {word}".lstrip()
        if rows[-1] and font.getlength(longer) > width:
            rows.append(word)
        else:
            rows[-1] = longer
    return rows


def side_by_side(pictures: Sequence[Picture], height: int) -> Picture:
    """Pictures of any sizes in one row, each scaled to `height` pixels without smoothing."""
    scaled: list[Picture] = []
    for picture in pictures:
        width = max(1, round(picture.shape[1] * height / picture.shape[0]))
        scaled.append(np.array(Image.fromarray(picture).resize((width, height), Image.Resampling.NEAREST)))
    return np.concatenate(scaled, axis=1)


def spaced(pictures: Sequence[Picture], axis: int) -> Picture:
    """Pictures in a row (axis 1) or a column (axis 0), with white between them."""
    gaps = [(0, 0), (0, 0), (0, 0)]
    gaps[axis] = (0, _GAP)
    *before, last = pictures
    return np.concatenate([*(np.pad(picture, gaps, constant_values=255) for picture in before), last], axis=axis)


def outlined(picture: Picture, colour: tuple[int, int, int], thickness: int = 4) -> Picture:
    """A copy of the picture with a frame of `colour` painted over its border."""
    marked = picture.copy()
    for border in (marked[:thickness], marked[-thickness:], marked[:, :thickness], marked[:, -thickness:]):
        border[:] = colour
    return marked


def _encode(path: Path, frames: Iterable[Picture], fps: int | float) -> int:
    """Write all frames to `path` and count them; raises OSError where OpenCV cannot open it."""
    cv2 = _opencv()
    remaining = iter(frames)
    first = next(remaining, None)
    if first is None:
        raise ValueError("a video needs at least one frame")
    height, width = first.shape[:2]
    with _quiet():
        size = (width + width % 2, height + height % 2)
        writer: cv2.VideoWriter = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"VP80"), fps, size)
    written = 0
    try:
        if not writer.isOpened():
            raise OSError("the encoder could not open it")
        for frame in chain((first,), remaining):
            if frame.shape != first.shape:
                raise ValueError(
                    f"frames of a video have one size: the first is {first.shape}, then came {frame.shape}"
                )
            even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)))
            writer.write(np.ascontiguousarray(even[..., ::-1]))
            written += 1
    finally:
        writer.release()
    return written


def _frames_in(path: Path) -> int:
    """How many frames a video holds; the encoder does not say when it fails to write."""
    reader: cv2.VideoCapture = _opencv().VideoCapture(str(path))
    try:
        count = 0
        while reader.grab():
            count += 1
        return count
    finally:
        reader.release()


def _opencv() -> ModuleType:
    try:
        import cv2  # noqa: PLC0415 (optional: only who writes videos needs it)
    except ImportError as error:
        raise MissingExtraError("opencv-python-headless", "pip install 'gnfactor[train]'") from error
    return cv2


@contextmanager
def _quiet() -> Generator[None]:
    """Keep the C library's standard error away: OpenCV prints there that it re-tags VP8 for WebM, which is harmless."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
