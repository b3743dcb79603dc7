"""Video files, read and written through PyAV, a frame at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from heapq import heappop, heappush
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

    Raises InputError at once where the file cannot be read or holds no video; while they are read,
    where an image cannot be decoded, or there is none.
    """
    return map(_sound, decoded(file))


def decoded(file: str | Path) -> Iterator[NDArray[np.uint8] | InputError]:
    """The same, with an InputError in the place of each image that is lost.

    So what comes later keeps its number. An image that cannot be decoded takes along those up to
    the next key frame, which are told by their difference to it.
    """
    file = Path(file)
    av = import_extra("av", "Video files", EXTRA)
    if not file.is_file():
        raise InputError(f"There is no video {file}.")
    try:
        container = av.open(str(file))
    except (OSError, ValueError, av.error.FFmpegError) as error:
        raise InputError(f"Cannot read the video {file}: {_reason(error)}.") from error
    if not container.streams.video:
        container.close()
        raise InputError(f"{file} holds no video.")
    return _decoded(file, container)


def _sound(image: NDArray[np.uint8] | InputError) -> NDArray[np.uint8]:
    if isinstance(image, InputError):
        raise image
    return image


def _decoded(file: Path, container: Any) -> Iterator[NDArray[np.uint8] | InputError]:
    import av

    count = 0
    with container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        try:
            for image in _images(stream, container.demux(stream)):
                if isinstance(image, str):
                    yield InputError(f"frame {count} of {file} cannot be decoded: {image}.")
                else:
                    yield image.to_ndarray(format="rgb24")
                count += 1
        except (OSError, ValueError, av.error.FFmpegError) as error:
            where = f" after {count} images" if count else ""
            raise InputError(f"Cannot read the video {file}{where}: {_reason(error)}.") from error
    if not count:
        raise InputError(f"The video {file} is empty: it holds no image.")


def _images(stream: Any, packets: Iterator[Any]) -> Iterator[Any]:
    """Decoded images in the order of their times; of a lost one, the reason.

    A packet that cannot be decoded is reported late where several threads decode. Which image it
    was follows from the times: that of a packet whose image does not come in its turn.
    """
    from av.error import FFmpegError

    waiting: list[int] = []
    failed, lost = "", ""
    for packet in packets:
        if packet.pts is not None and not packet.is_discard:
            heappush(waiting, packet.pts)
        try:
            images = packet.decode()
        except FFmpegError as error:
            if not waiting:  # The file tells no times.
                raise
            failed = _reason(error)
            continue
        for image in images:
            while waiting and image.pts is not None and waiting[0] < image.pts:
                heappop(waiting)
                if failed:
                    lost = failed
                    yield lost
            if waiting and waiting[0] == image.pts:
                heappop(waiting)
            if image.key_frame:
                lost = ""
            yield f"one before it is lost ({lost})" if lost else image
    if failed:
        yield from [failed] * len(waiting)


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
