"""Video files, read and written through PyAV, a frame at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from concerto.errors import InputError
from concerto.extras import import_extra
from concerto.files import replacing

VIDEOS = (".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v")
EXTRA = "video"


def is_video(path: object) -> bool:
    """Whether a path names a video, by its suffix."""
    return isinstance(path, (str, Path)) and Path(path).suffix.lower() in VIDEOS


def read_video(file: str | Path) -> Iterator[NDArray[np.uint8]]:
    """The images of a video, (H, W, 3) uint8 RGB, one after another.

    Raises InputError where the file cannot be read, or holds no image; where it breaks off, after
    the images before that.
    """
    file = Path(file)
    av = import_extra("av", "Video files", EXTRA)
    if not file.is_file():
        raise InputError(f"There is no video {file}.")
    count = 0
    try:
        with av.open(str(file)) as container:
            if not container.streams.video:
                raise InputError(f"{file} holds no video.")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for image in container.decode(stream):
                yield image.to_ndarray(format="rgb24")
                count += 1
    except (OSError, ValueError, av.error.FFmpegError) as error:
        if isinstance(error, InputError):
            raise
        where = f" after {count} images" if count else ""
        raise InputError(f"Cannot read the video {file}{where}: {_reason(error)}.") from error
    if not count:
        raise InputError(f"The video {file} is empty: it holds no image.")


@contextmanager
def video_writer(file: str | Path, fps: float) -> Iterator[VideoWriter]:
    """Write a video, H.264 in the container that the suffix names; whole or not at all.

    Raises InputError where it cannot be written.
    """
    av = import_extra("av", "Video files", EXTRA)
    if not is_video(file):
        raise InputError(f"{file} must end in one of {', '.join(VIDEOS)}.")
    with replacing(file) as temporary:
        try:
            with av.open(str(temporary), "w") as container:
                writer = VideoWriter(container, fps)
                yield writer
                writer.close()
        except av.error.FFmpegError as error:
            raise InputError(f"Cannot write the video {file}: {_reason(error)}.") from error


class VideoWriter:
    """Takes (H, W, 3) uint8 RGB images of one size; of odd sizes the last row or column is cut."""

    def __init__(self, container: Any, fps: float) -> None:
        self._container, self._fps = container, fps
        self._stream: Any = None

    def add(self, image: NDArray[np.uint8]) -> None:
        """Append an image."""
        import av

        height, width = (side - side % 2 for side in image.shape[:2])
        if self._stream is None:
            stream = self._container.add_stream("libx264", rate=round(self._fps))
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.options = {"crf": "18"}
            self._stream = stream
        cut = np.ascontiguousarray(image[:height, :width])
        for packet in self._stream.encode(av.VideoFrame.from_ndarray(cut, format="rgb24")):
            self._container.mux(packet)

    def close(self) -> None:
        """Write what is still on its way."""
        if self._stream is not None:
            for packet in self._stream.encode():
                self._container.mux(packet)


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
