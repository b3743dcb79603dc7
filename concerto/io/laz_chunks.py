"""What compressed points claim about themselves, held against the file.

lazrs allocates what the number of chunks and the sizes of layers say, before it reads them; where
that fails, the process ends. Both are read here first.

A LAZ file holds, at the start of its points, the place of a table of chunks (int64), then the
chunks. From LAS 1.4 a chunk is its first point uncompressed, the number of points (uint32), the
size of each layer (uint32), then the layers; a layer is one part of all points of the chunk.
"""

from __future__ import annotations

import io
import struct
from typing import Any, BinaryIO

from concerto.errors import InputError
from concerto.extras import import_extra
from concerto.io.limits import check_claim

LAYERED = 3
# Layers of an item of the record that describes points, by its type; extra bytes have one a byte.
LAYERS = {10: 9, 11: 1, 12: 2, 13: 1}
EXTRA_BYTES = 14
# Decompressing keeps some kB of statistics for each byte of a point.
LONGEST_POINT = 4096


def check_chunks(header: Any, file: BinaryIO, size: int) -> None:
    """header: laspy's; size: of the file. Raises InputError where a claim cannot be true."""
    lazrs = import_extra("lazrs", "LAZ files")
    record = header.vlrs[header.vlrs.index("LasZipVlr")].record_data
    description = lazrs.LazVlr(record)
    point_size = header.point_format.size
    if description.item_size() != point_size or point_size > LONGEST_POINT:
        raise InputError(
            f"Its points have {point_size} bytes, and {description.item_size()} are compressed; "
            f"they must be equal, and at most {LONGEST_POINT}."
        )
    start = header.offset_to_point_data
    _check_table(file, start, size, header.point_count)
    if struct.unpack_from("<H", record)[0] != LAYERED:
        return
    file.seek(start)
    counts = None
    if description.uses_variable_size_chunks():
        counts = [points for points, _ in lazrs.read_chunk_table(file, description)]
    layers = 0
    for item in range(struct.unpack_from("<H", record, 32)[0]):
        kind, width = struct.unpack_from("<HH", record, 34 + 6 * item)
        layers += width if kind == EXTRA_BYTES else LAYERS.get(kind, 0)
    file.seek(start + 8)
    chunk, left = 0, header.point_count
    while left > 0:
        head = file.read(point_size + 4 * (1 + layers))
        if len(head) < point_size + 4 * (1 + layers):
            raise InputError("Its compressed points are cut short.")
        sizes = struct.unpack_from(f"<{layers}I", head, point_size + 4)
        check_claim(sum(sizes), size - file.tell())
        file.seek(sum(sizes), io.SEEK_CUR)
        if counts is not None and chunk >= len(counts):
            raise InputError("Its table of chunks has fewer points than its header claims.")
        # A chunk of 0 points is read as one without end.
        left -= (counts[chunk] if counts is not None else description.chunk_size()) or left
        chunk += 1


def _check_table(file: BinaryIO, start: int, size: int, points: int) -> None:
    """The number of chunks: none is without a point."""
    for place in (start, size - 8):  # a writer that could not go back leaves it at the end
        file.seek(place)
        table = int.from_bytes(file.read(8), "little", signed=True)
        if table > start:
            file.seek(table)
            head = file.read(8)
            if len(head) == 8 and struct.unpack("<II", head)[1] > max(points, 1):
                raise InputError("Its table of chunks claims more chunks than there are points.")
            return
