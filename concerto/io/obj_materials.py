"""The materials of OBJ meshes: MTL files, and the images they name."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from concerto.errors import InputError
from concerto.io.lines import lines_of
from concerto.io.textures import PixelAt, pixels_of

MOST_LIBRARIES, MOST_MATERIALS = 100, 2**16
NONE = -1


@dataclass
class Material:
    """plain: its colour, 0-255, or None. image: its texture's place among the images, or NONE."""

    plain: tuple[int, int, int] | None = None
    image: int = NONE


@dataclass
class Materials:
    """What the MTL files beside an OBJ say, as far as they are there."""

    folder: Path
    numbers: dict[str, int] = field(default_factory=dict)  # name → place in `found`
    found: list[Material] = field(default_factory=list)
    images: list[Path] = field(default_factory=list)
    libraries: set[str] = field(default_factory=set)

    def add_library(self, names: str) -> None:
        """What follows mtllib: one name, maybe with spaces in it, or several.

        Raises InputError where there are too many files or materials.
        """
        if names in self.libraries:
            return
        self.libraries.add(names)
        if len(self.libraries) > MOST_LIBRARIES:
            raise InputError(f"It names more than {MOST_LIBRARIES} files of materials.")
        whole = _find(self.folder, names)
        for file in [whole] if whole else [_find(self.folder, name) for name in names.split()]:
            if file:
                self._read(file)

    def number(self, name: str) -> int:
        """NONE where no MTL file has that name."""
        return self.numbers.get(name, NONE)

    def give_color(self) -> bool:
        """Whether any does."""
        return any(one.plain or one.image != NONE for one in self.found)

    def plain(self) -> np.ndarray:
        """(M + 1, 3) uint8: the plain colours, and at the end, where NONE points, black."""
        rows = [one.plain or (0, 0, 0) for one in self.found]
        return np.array([*rows, (0, 0, 0)], np.uint8)

    def image_numbers(self) -> np.ndarray:
        """(M + 1,) int64: the image of each, and at the end NONE."""
        return np.array([*(one.image for one in self.found), NONE])

    def pixels(self, image: int) -> PixelAt | None:
        """None where the image is damaged. Raises InputError where it is too large."""
        try:
            with Image.open(self.images[image]) as opened:
                return pixels_of(opened)
        except (InputError, Image.DecompressionBombError):
            raise
        except Exception:  # pillow raises many kinds at damaged bytes; they are as good as absent
            return None

    def _read(self, file: Path) -> None:
        material = Material()  # what stands before the first newmtl is nobody's
        images = {path: number for number, path in enumerate(self.images)}
        with file.open(encoding="latin-1") as lines:
            for line in lines_of(lines, comments=True):
                key, _, value = line.replace("\t", " ").partition(" ")
                key, value = key.lower(), value.strip()
                if key == "newmtl":
                    material = Material()
                    self.numbers[value] = len(self.found)
                    self.found.append(material)
                    if len(self.found) > MOST_MATERIALS:
                        raise InputError(f"It has more than {MOST_MATERIALS:,} materials.")
                elif key == "kd":
                    material.plain = _plain(value)
                elif key == "map_kd" and value:
                    # Options may stand before the name.
                    image = _find(self.folder, value) or _find(self.folder, value.split()[-1])
                    if image in images or (image and _is_image(image)):
                        material.image = images.setdefault(image, len(images))
        self.images = list(images)


def _plain(value: str) -> tuple[int, int, int] | None:
    """Three numbers 0-1 → 0-255; None for other ways to say a colour."""
    with contextlib.suppress(ValueError):
        red, green, blue = (
            round(255 * min(max(float(word), 0), 1)) for word in value.partition("#")[0].split()
        )
        return red, green, blue
    return None


def _is_image(file: Path) -> bool:
    try:
        with Image.open(file):
            return True
    except Image.DecompressionBombError:
        return True  # refused, with its size, where it is used
    except Exception:  # pillow raises many kinds at damaged bytes
        return False


def _find(folder: Path, name: str) -> Path | None:
    """The file of that name, else its namesake in the folder itself, else None.

    name: as Latin-1 reads it, maybe a path on the machine of its author.
    """
    with contextlib.suppress(UnicodeDecodeError):
        name = name.encode("latin-1").decode()
    name = name.strip('"').replace("\\", "/")
    for file in (folder / name, folder / name.rpartition("/")[2]):
        with contextlib.suppress(OSError, ValueError):  # too long a name, or a zero byte in it
            if file.is_file():
                return file
    return None
