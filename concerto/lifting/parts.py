"""Images that lie within a larger file, known by their place and read when they are needed."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from concerto.errors import InputError
from concerto.io.pictures import to_metres


@dataclass(frozen=True)
class Part:
    """Bytes of a file. start, size: where they lie."""

    file: Path
    start: int
    size: int

    def read(self) -> bytes:
        """The bytes. Raises InputError where the file no longer has them."""
        try:
            with self.file.open("rb") as stream:
                stream.seek(self.start)
                content = stream.read(self.size)
        except OSError as error:
            raise InputError(f"Cannot read {self.file}: {error.strerror or error}.") from error
        if len(content) != self.size:
            raise InputError(f"{self.file} is cut short: bytes from {self.start:,} on are missing.")
        return content


@dataclass(frozen=True)
class RawDepth:
    """A depth image as 16-bit numbers, row after row. shape: (h, w). packed: by zlib."""

    part: Part
    shape: tuple[int, int]
    packed: bool

    def read(self, name: str, steps_per_metre: float) -> NDArray[np.float32]:
        """(h, w) float32 metres, 0 where nothing was measured. name: for messages.

        Raises InputError where the bytes are damaged, or not as many as the shape says.
        """
        content, wanted = self.part.read(), 2 * self.shape[0] * self.shape[1]
        if self.packed:
            try:
                content = zlib.decompressobj().decompress(content, wanted + 1)
            except zlib.error as error:
                raise InputError(f"{name}: the depth is damaged: {error}.") from error
        if len(content) != wanted:
            raise InputError(
                f"{name}: the depth has {len(content):,} bytes or more; "
                f"{self.shape[1]} x {self.shape[0]} pixels take {wanted:,}."
            )
        stored = np.frombuffer(content, "<u2").reshape(self.shape)
        return to_metres(stored, steps_per_metre)
