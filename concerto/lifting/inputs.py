"""What people hold of a video → frames, made one at a time.

Images are arrays, paths or a video; depths arrays or paths; intrinsics and poses one array or many.
An `Attempt` makes one frame when called, or says why it cannot be used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from concerto.arguments import positive
from concerto.errors import InputError
from concerto.folders import natural
from concerto.io.pictures import IMAGES, read_depth, read_photo, to_metres
from concerto.lifting.conventions import inverse
from concerto.lifting.frame import Frame, Intrinsics, Sizes, camera_of_depth, check_pose
from concerto.lifting.recording import read_matrix
from concerto.lifting.video_file import decoded, is_video

Attempt = Callable[[], Frame]
Made = TypeVar("Made")
MILLIMETRES = 1000.0
_END = object()


@dataclass(frozen=True)
class Given:
    """What `lift` was given of the frames, as people hold it; None for what was not."""

    frames: Any
    depths: Any
    intrinsics: Any
    poses: Any
    confidences: Any


def attempts(
    given: Given, depth_scale: float | None = None, world_to_camera: bool = False
) -> Iterator[Attempt]:
    """Frames in the making; depth_scale and world_to_camera are those of `lift`.

    Raises InputError at once where the counts differ, as far as they are known; else where one of
    the arguments ends before another.
    """
    positive(depth_scale, 1.0, "depth_scale")
    needed = ("frames", "depths", "poses", "intrinsics")
    missing = [name for name in needed if getattr(given, name) is None]
    if missing:
        raise InputError(
            f"No {', '.join(missing)} given: to lift images, pass frames, depths, intrinsics and "
            "poses; or pass geometry=, which finds them from the images."
        )
    cameras = as_intrinsics(given.intrinsics)
    streams = {
        "frames": images_of(given.frames),
        "depths": given.depths,
        "poses": poses_of(given.poses),
    }
    if not isinstance(cameras, Intrinsics):
        streams["intrinsics"] = cameras
    if given.confidences is not None:
        streams["confidences"] = given.confidences
    check_counts(streams)
    return _attempts(streams, cameras, depth_scale, world_to_camera)


def images_of(frames: Any) -> Iterable[Any]:
    """A video's or a folder's images, or what was given. Raises InputError for another path."""
    if is_video(frames):
        return decoded(frames)
    if isinstance(frames, (str, Path)) and Path(frames).is_dir():
        return image_files(Path(frames))
    if isinstance(frames, (str, Path)):
        raise InputError(f"{frames} is no video; pass a video, or a list of images or their paths.")
    if not isinstance(frames, Iterable):
        raise InputError(f"frames is {type(frames).__name__}; expected images, or a video's path.")
    return frames


def image_files(folder: Path) -> list[Path]:
    """The images that lie in a folder, those of one name by the number in it: 9.jpg before 10.jpg.

    Raises InputError where there are none.
    """
    found = [file for file in folder.iterdir() if file.suffix.lower() in IMAGES]
    if not found:
        raise InputError(f"{folder} holds no images ({', '.join(IMAGES)}).")
    return sorted(found, key=lambda file: natural(file.name))


def as_intrinsics(given: Any) -> Intrinsics | list[Intrinsics]:
    """One camera or one a frame: 3x3 matrices, fx fy cx cy, or a file of one of these.

    Raises InputError for others.
    """
    if isinstance(given, Intrinsics):
        return given
    if isinstance(given, (list, tuple)) and given and isinstance(given[0], Intrinsics):
        return list(given)
    if isinstance(given, (str, Path)):
        values = read_matrix(Path(given)).squeeze()
    else:
        values = _numbers(given, "intrinsics")
    if values.shape == (4,):
        return Intrinsics(*map(float, values))
    # Four rows that do not end so are fx fy cx cy of four frames.
    if values.shape == (3, 3) or (
        values.shape == (4, 4) and np.array_equal(values[-1], [0, 0, 0, 1])
    ):
        return Intrinsics.from_matrix(values)
    if values.ndim == 2 and values.shape[1] == 4:
        return [Intrinsics(*map(float, row)) for row in values]
    if values.ndim == 3 and values.shape[1:] in ((3, 3), (4, 4)):
        return [Intrinsics.from_matrix(matrix) for matrix in values]
    raise InputError(
        f"intrinsics have shape {values.shape}; expected (3, 3) or fx fy cx cy, for all frames or "
        "one for each."
    )


def as_image(given: Any, name: str, upright: bool = False) -> NDArray[np.uint8]:
    """An array, tensor, PIL image or path as (H, W, 3) uint8; of one that is lost, why it is.

    upright: turn a file's image by its EXIF orientation.
    """
    if isinstance(given, InputError):
        raise given
    if isinstance(given, (str, Path)):
        return read_photo(Path(given), upright)
    image = _array(given, f"{name}: the image")
    if image.dtype != np.uint8 and np.issubdtype(image.dtype, np.floating):
        if not (image.size and np.isfinite(image).all() and image.min() >= 0 and image.max() <= 1):
            raise InputError(f"{name}: a float image must hold 0 to 1; pass uint8 for 0 to 255.")
        image = (image * 255).round().astype(np.uint8)
    return np.asarray(image)


def advised(error: InputError) -> InputError:
    """The same, with what to do about a frame that cannot be used."""
    return InputError(f"{error} skip_bad=True leaves such frames out.")


def tried(attempt: Callable[[], Made], skip_bad: bool) -> Made | InputError:
    """What an attempt makes; why it does not, where that may be left out, or else is raised."""
    try:
        return attempt()
    except InputError as error:
        if skip_bad:
            return error
        raise advised(error) from error


def as_depth(given: Any, name: str, depth_scale: float | None) -> NDArray[np.float32]:
    """An array, tensor or path of a 16-bit image as (h, w) float32 metres."""
    if isinstance(given, (str, Path)) and Path(given).suffix.lower() != ".npy":
        return read_depth(Path(given), depth_scale or MILLIMETRES)
    if isinstance(given, (str, Path)):
        try:
            given = np.load(given, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise InputError(f"{name}: cannot read the depth {given}: {error}.") from error
    depth = _array(given, f"{name}: the depth")
    if depth.dtype.kind not in "biuf":
        raise InputError(f"{name}: the depth is {depth.dtype}; expected numbers, (h, w).")
    if depth.ndim == 3 and 1 in (depth.shape[0], depth.shape[2]):
        depth = depth.squeeze(0 if depth.shape[0] == 1 else 2)
    if np.issubdtype(depth.dtype, np.integer):
        return to_metres(depth, depth_scale or MILLIMETRES)
    return np.asarray(depth.astype(np.float32) / np.float32(depth_scale or 1))


def as_pose(given: Any, name: str, world_to_camera: bool) -> NDArray[np.float64]:
    """(4, 4) or (3, 4), or a file of it, as (4, 4) float64 camera to world."""
    if isinstance(given, (str, Path)):
        pose = read_matrix(Path(given))
    else:
        pose = _numbers(given, f"{name}: the pose")
    if pose.shape == (3, 4):
        pose = np.concatenate([pose, [[0, 0, 0, 1]]])
    if not world_to_camera or pose.shape != (4, 4) or not np.isfinite(pose).all():
        return pose
    check_pose(pose, name)
    return inverse(pose)


def make_frame(
    name: str,
    image: Any,
    depth: Any,
    camera: Intrinsics,
    pose: Any,
    confidence: Any = None,
    *,
    depth_scale: float | None = None,
    world_to_camera: bool = False,
) -> Frame:
    """A frame of anything that holds its parts; a depth image of another size has the same view."""
    color, meters = as_image(image, name), as_depth(depth, name, depth_scale)
    depth_camera = camera
    if _is_image(color) and meters.ndim == 2 and color.shape[:2] != meters.shape:
        depth_camera = camera_of_depth(name, camera, color.shape, meters.shape)
    return Frame(
        name=name,
        color=color,
        depth=meters,
        pose=as_pose(pose, name, world_to_camera),
        camera=camera,
        depth_camera=depth_camera,
        confidence=None if confidence is None else _confidence(confidence, name),
    )


def _attempts(
    streams: dict[str, Iterable[Any]],
    cameras: Intrinsics | list[Intrinsics],
    depth_scale: float | None,
    world_to_camera: bool,
) -> Iterator[Attempt]:
    running = {name: iter(values) for name, values in streams.items()}
    sizes = Sizes()
    for number in count():
        values = {name: next(stream, _END) for name, stream in running.items()}
        ended = [name for name, value in values.items() if value is _END]
        if len(ended) == len(values):
            return
        if ended:
            going = ", ".join(name for name in values if name not in ended)
            raise InputError(
                f"There are {number} {' and '.join(ended)}, but more {going}; expected one of each "
                "for every frame. Where one was dropped on the way, those after it are mismatched."
            )
        yield partial(
            _attempt,
            f"frame {number}",
            values,
            cameras if isinstance(cameras, Intrinsics) else None,
            sizes,
            depth_scale,
            world_to_camera,
        )


def _attempt(
    name: str,
    values: dict[str, Any],
    camera: Intrinsics | None,
    sizes: Sizes,
    depth_scale: float | None,
    world_to_camera: bool,
) -> Frame:
    missing = [part for part, value in values.items() if value is None and part != "confidences"]
    if missing:
        raise InputError(f"{name} has no {' and no '.join(missing)} (None was given).")
    frame = make_frame(
        name,
        values["frames"],
        values["depths"],
        camera or values["intrinsics"],
        values["poses"],
        values.get("confidences"),
        depth_scale=depth_scale,
        world_to_camera=world_to_camera,
    )
    sizes.check(name, frame.camera, frame.color)
    return frame


def check_counts(streams: dict[str, Any]) -> None:
    """Raise InputError where lists differ in length, or are none; those not given are None."""
    streams = {name: values for name, values in streams.items() if values is not None}
    for name, values in streams.items():
        if isinstance(values, (str, Path)) or not isinstance(values, Iterable):
            told = values if isinstance(values, (str, Path)) else type(values).__name__
            raise InputError(f"{name} is {told}; expected a list, or an iterator: one a frame.")
    counts = {name: len(values) for name, values in streams.items() if isinstance(values, Sized)}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{number} {name}" for name, number in counts.items())
        raise InputError(f"The counts differ: {told}; expected one of each for every frame.")
    if counts and not next(iter(counts.values())):
        raise InputError(f"There are no {' and no '.join(counts)} to lift.")


def poses_of(given: Any) -> Iterable[Any]:
    """Matrices (N, 4, 4), one each, or a file of them: 16 or 12 numbers a line."""
    if not isinstance(given, (str, Path)):
        poses: Iterable[Any] = given
        return poses
    values = read_matrix(Path(given))
    if values.ndim == 2 and values.shape[1] in (12, 16):
        return values.reshape(len(values), -1, 4)
    if values.ndim == 2 and values.shape[1] == 4 and len(values) % 4 == 0:
        return values.reshape(-1, 4, 4)
    raise InputError(
        f"{given} holds {values.shape} numbers; expected 12 or 16 a line, a pose each, or 4x4 "
        "matrices below each other."
    )


def _confidence(given: Any, name: str) -> NDArray[np.float32]:
    return _numbers(given, f"{name}: the confidence").astype(np.float32)


def _is_image(color: NDArray[Any]) -> bool:
    """Whether an array has an image's shape; what has not is refused when the frame is made."""
    return color.ndim == 3 and color.shape[2] == 3


def _numbers(given: Any, what: str) -> NDArray[np.float64]:
    """As float64. Raises InputError, beginning with `what`, where these are no numbers."""
    try:
        return np.asarray(_on_cpu(given), np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what} is not of numbers: {str(error).rstrip('.')}.") from error


def _array(given: Any, what: str) -> NDArray[Any]:
    """Raises InputError, beginning with `what`, where it is none that numpy has, as of bfloat16."""
    try:
        return np.asarray(_on_cpu(given))
    except (TypeError, ValueError) as error:
        told = getattr(given, "dtype", type(given).__name__)
        raise InputError(
            f"{what} ({told}) cannot become an array: {str(error).rstrip('.')}. Pass an array or "
            "tensor of float32 or integers."
        ) from error


def _on_cpu(given: Any) -> Any:
    return given.detach().cpu() if hasattr(given, "detach") else given
