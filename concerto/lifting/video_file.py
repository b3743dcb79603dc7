"""Video files, read and written through PyAV, a frame at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
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
# What encodes images, and how: WebM holds no H.264. The eye sees no loss in either.
H264 = ("libx264", {"crf": "18"})
VP9 = ("libvpx-vp9", {"crf": "18", "b": "0", "cpu-used": "4", "row-mt": "1"})
# Television's frames a second, which people write with two or three digits.
TELEVISION = tuple(Fraction(1000 * whole, 1001) for whole in (24, 30, 60, 120))
SLOWEST, FASTEST = 0.001, 1000.0


def is_video(path: object) -> bool:
    """Whether a path names a video, by its suffix."""
    return isinstance(path, (str, Path)) and Path(path).suffix.lower() in VIDEOS


def decoded(file: str | Path) -> Iterator[NDArray[np.uint8] | InputError]:
    """The images of a video, (H, W, 3) uint8 RGB, one after another, upright as players show them.

    In the place of each image that is lost comes an InputError, so what is later keeps its number.
    An image that cannot be decoded takes along those up to the next key frame, which are told by
    their difference to it.

    Raises InputError at once where the file cannot be read or holds no video; while they are read,
    where it is cut short, or there is none.
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
                    yield _upright(image)
                count += 1
        except (OSError, ValueError, av.error.FFmpegError) as error:
            where = f" after {count} images" if count else ""
            raise InputError(f"Cannot read the video {file}{where}: {_reason(error)}.") from error
    if not count:
        raise InputError(f"The video {file} is empty: it holds no image.")


def _upright(image: Any) -> NDArray[np.uint8]:
    """A decoded image, turned as the file says: phones store what they film in their sensor's way.

    PyAV's degrees, and numpy's turns, are counter-clockwise.
    """
    stored = image.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(stored, round(image.rotation / 90)))


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


def check_video(file: str | Path, fps: float) -> None:
    """Raise InputError where a video of that name and so many frames a second cannot be made."""
    if not is_video(file):
        raise InputError(f"{file} must end in one of {', '.join(VIDEOS)}.")
    frame_rate(fps)
    av = import_extra("av", "Video files", EXTRA)
    codec, _ = _encoding(file)
    try:
        av.Codec(codec, "w")
    except ValueError as error:
        raise InputError(
            f"Cannot write the video {file}: the installed PyAV lacks {codec}, which encodes "
            f"{Path(file).suffix}. Install PyAV's own wheel, or try another of {', '.join(VIDEOS)}."
        ) from error


def frame_rate(fps: float) -> Fraction:
    """Frames a second as video files hold them, such as 30000/1001 for 29.97.

    Raises InputError where there are too few, too many, or no number.
    """
    if not SLOWEST <= fps <= FASTEST:
        raise InputError(f"fps is {fps:g}; expected {SLOWEST:g} to {FASTEST:g} frames a second.")
    for rate in TELEVISION:
        if abs(fps - rate) < 0.005:
            return rate
    return Fraction(fps).limit_denominator(1001)


@contextmanager
def video_writer(file: str | Path, fps: float) -> Iterator[VideoWriter]:
    """Write a video in the container that the suffix names; whole or not at all.

    It is H.264, in .webm VP9. Raises InputError where it cannot be written.
    """
    check_video(file, fps)
    import av

    with replacing(file) as temporary:
        container, stream = _opened(file, temporary, fps)
        try:
            with container:
                writer = VideoWriter(container, stream)
                yield writer
                writer.close()
        except av.error.FFmpegError as error:
            raise InputError(f"Cannot write the video {file}: {_reason(error)}.") from error


def _opened(file: str | Path, temporary: Path, fps: float) -> tuple[Any, Any]:
    """A container to write to, and its stream of images."""
    import av

    codec, options = _encoding(file)
    try:
        container = av.open(str(temporary), "w")
        stream = container.add_stream(codec, rate=frame_rate(fps), options=dict(options))
    except (ValueError, av.error.FFmpegError) as error:
        raise InputError(f"Cannot write the video {file}: {_reason(error)}.") from error
    return container, stream


def _encoding(file: str | Path) -> tuple[str, dict[str, str]]:
    return VP9 if Path(file).suffix.lower() == ".webm" else H264


class VideoWriter:
    """Takes (H, W, 3) uint8 RGB images of one size; of odd sizes the last row or column is cut."""

    def __init__(self, container: Any, stream: Any) -> None:
        self._container, self._stream, self._begun = container, stream, False

    def add(self, image: NDArray[np.uint8]) -> None:
        """Append an image."""
        import av

        height, width = (side - side % 2 for side in image.shape[:2])
        if not self._begun:
            stream = self._stream
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            self._begun = True
        cut = np.ascontiguousarray(image[:height, :width])
        for packet in self._stream.encode(av.VideoFrame.from_ndarray(cut, format="rgb24")):
            self._container.mux(packet)

    def close(self) -> None:
        """Write what is still on its way. Raises InputError where there was no image."""
        if not self._begun:
            raise InputError("No image was given, and a video takes at least one.")
        for packet in self._stream.encode():
            self._container.mux(packet)


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
