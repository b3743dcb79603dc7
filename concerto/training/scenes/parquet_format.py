"""A sample as a row of a table: what `datasets.load_dataset` shows, and what Parquet keeps compact.

coord: float32 metres. color: uint8. normal: int8, 127 being 1 (0.4° at most, made unit again when
read). images: encoded, `datasets.Image`. seen: for each image the pixels x and y (uint16), and the
points there (int32). Labelled samples have two columns more: segment, the class of each point, as
`datasets.ClassLabel`, so the names of the classes lie in the schema; and instance, int32. -1 is no
class, no instance. Other columns may stand beside these, and are left alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from concerto.errors import InputError
from concerto.extras import import_extra
from concerto.training.scenes.encoded import EncodedSample
from concerto.training.scenes.published import unit

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Features

COLUMNS = ("name", "scene", "coord", "color", "normal", "images", "seen")
IMAGES = ("images", "seen")
LABELS = ("segment", "instance")
NORMAL_STEPS = 127
MOST_PIXELS = 2**16


def columns_of(classes: Sequence[str] = ()) -> Features:
    """The columns, as `datasets` describes them.

    classes: names of the classes of labelled samples; without them there are no columns of labels.
    """
    datasets = import_datasets()
    values, rows = datasets.Value, datasets.List

    def triple(dtype: str) -> Any:
        return rows(rows(values(dtype), length=3))

    columns = {
        "name": values("string"),
        "scene": values("string"),
        "coord": triple("float32"),
        "color": triple("uint8"),
        "normal": triple("int8"),
        "images": rows(datasets.Image()),
        "seen": rows(
            {
                "x": rows(values("uint16")),
                "y": rows(values("uint16")),
                "point": rows(values("int32")),
            }
        ),
    }
    if classes:
        columns["segment"] = rows(datasets.ClassLabel(names=list(classes)))
        columns["instance"] = rows(values("int32"))
    return datasets.Features(columns)


def classes_in(schema: pa.Schema) -> tuple[str, ...]:
    """The names of the classes of a file's labels; none where it has no labels."""
    datasets = import_datasets()
    if "segment" not in schema.names:
        return ()
    column = datasets.Features.from_arrow_schema(schema)["segment"]
    label = getattr(column, "feature", None)
    return tuple(label.names) if isinstance(label, datasets.ClassLabel) else ()


def import_datasets() -> Any:
    """The library `datasets`. Raises MissingExtraError where it is not installed."""
    return import_extra("datasets", "Prepared scenes", "train")


def to_table(sample: EncodedSample, schema: pa.Schema) -> pa.Table:
    """One row. schema: that of `columns_of`.

    sample: as it passes its `check`. Labels of a sample are written where the schema has columns
    of them; a sample without any has null there.

    Raises InputError where a pixel does not fit its column, or a label is none of the classes.
    """
    import pyarrow as pa

    _check_ranges(sample)
    classes = classes_in(schema)
    normal = np.rint(sample.normal * NORMAL_STEPS).astype(np.int8)
    image = [{"bytes": content, "path": None} for content in sample.images]
    pixels = [rows.T for rows in sample.seen]
    seen = pa.StructArray.from_arrays(
        [
            _lists([rows[0].astype(np.uint16) for rows in pixels], pa.uint16()),
            _lists([rows[1].astype(np.uint16) for rows in pixels], pa.uint16()),
            _lists([rows[2].astype(np.int32) for rows in pixels], pa.int32()),
        ],
        names=["x", "y", "point"],
    )
    columns = [
        pa.array([sample.name]),
        pa.array([sample.scene]),
        _triples(sample.coord.astype(np.float32)),
        _triples(sample.color.astype(np.uint8)),
        _triples(normal),
        pa.array([image], schema.field("images").type),
        _one_row(seen),
    ]
    if classes:
        check_classes(sample.segment, classes, f"Sample {sample.name!r}")
        columns += [_labels(sample.segment, pa.int64()), _labels(sample.instance, pa.int32())]
    return pa.table(columns, names=schema.names).cast(schema.remove_metadata())


def from_table(table: pa.Table, place: str, classes: Sequence[str] = ()) -> EncodedSample:
    """The sample in a table of one row.

    table: without the columns of IMAGES the sample has no images. place: where it comes from, for
    messages. classes: those of its labels, see `classes_in`; without them, labels are not read.

    Raises InputError where the row is not of this format, a number does not fit what its column
    means, or a label is none of the classes.
    """
    with _explained(place):
        sample = _sample(table, LABELS if classes else ())
    check_classes(sample.segment, classes, place)
    return sample


def segment_in(table: pa.Table, place: str, classes: Sequence[str]) -> np.ndarray | None:
    """The labels alone, of a table with their column; otherwise as `from_table`."""
    with _explained(place):
        segment = _flat(table["segment"].combine_chunks()[0], np.int16)
    check_classes(segment, classes, place)
    return segment


def check_classes(segment: np.ndarray | None, classes: Sequence[str], place: str) -> None:
    """Raise InputError, with the place and the value, where a label is none of the classes."""
    if segment is None:
        return
    wrong = (segment < -1) | (segment >= len(classes))
    if wrong.any():
        first = int(wrong.argmax())
        raise InputError(
            f"{place}: point {first} has class {segment[first]}. So {np.count_nonzero(wrong)} of "
            f"{len(segment)} points are out of range; there are {len(classes)} classes, 0 to "
            f"{len(classes) - 1}, and -1 for none."
        )


def _sample(table: pa.Table, labels: Sequence[str]) -> EncodedSample:
    """labels: the columns of LABELS to read, where they are there."""
    optional = {*IMAGES, *labels} & set(table.column_names)
    wanted = [name for name in COLUMNS if name not in IMAGES] + sorted(optional)
    row = {name: table[name].combine_chunks()[0] for name in wanted}
    images, seen = (row[name].values if name in row else None for name in IMAGES)
    return EncodedSample(
        name=row["name"].as_py(),
        scene=row["scene"].as_py(),
        coord=_rows(row["coord"]).astype(np.float32),
        color=_whole(_rows(row["color"]), np.uint8, "colours"),
        normal=unit(_whole(_rows(row["normal"]), np.int8, "normals")),
        images=tuple(image["bytes"].as_py() for image in images or ()),
        seen=tuple(_pixels(image) for image in seen or ()),
        segment=_flat(row.get("segment"), np.int16),
        instance=_flat(row.get("instance"), np.int32),
    )


@contextmanager
def _explained(place: str) -> Iterator[None]:
    """Say which row it is that is not of this format."""
    import pyarrow as pa

    try:
        yield
    except (
        KeyError,
        IndexError,
        TypeError,
        ValueError,
        AttributeError,
        pa.ArrowException,
    ) as error:
        raise InputError(f"{place} is no prepared sample: {error}.") from error


def _check_ranges(sample: EncodedSample) -> None:
    """Raise InputError where a pixel would not fit its column."""
    for rows in sample.seen:
        if len(rows) and rows[:, :2].max() >= MOST_PIXELS:
            raise InputError(f"{sample.name} has an image of over {MOST_PIXELS} pixels a side.")


def _triples(values: np.ndarray) -> pa.ListArray:
    """(n, 3) values as one row."""
    import pyarrow as pa

    return _one_row(pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), 3))


def _one_row(values: pa.Array) -> pa.ListArray:
    import pyarrow as pa

    return pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)


def _lists(arrays: list[np.ndarray], kind: pa.DataType) -> pa.ListArray:
    """Each array as a list."""
    import pyarrow as pa

    ends = np.cumsum([0, *map(len, arrays)])
    values = np.concatenate(arrays) if arrays else np.empty(0)
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(values, kind))


def _labels(values: np.ndarray | None, kind: pa.DataType) -> pa.ListArray:
    """Labels as one row; null where there are none."""
    import pyarrow as pa

    if values is None:
        return pa.nulls(1, pa.list_(kind))
    return _one_row(pa.array(values, kind))


def _flat(values: pa.ListScalar | None, dtype: type) -> np.ndarray | None:
    """(n,) of a list; None where it is null."""
    if values is None or values.values is None:
        return None
    return _whole(values.values.to_numpy(zero_copy_only=False), dtype, "labels")


def _rows(values: pa.ListScalar) -> np.ndarray:
    """(n, 3) of a list of lists of 3."""
    flat = values.values.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat.reshape(len(values.values), 3))


def _pixels(image: pa.StructScalar) -> np.ndarray:
    """(m, 3) int64 rows of x pixel, y pixel and point."""
    columns = [image[name].values.to_numpy(zero_copy_only=False) for name in ("x", "y", "point")]
    return np.stack([_whole(column, np.int64, "seen") for column in columns], axis=1)


def _whole(read: np.ndarray, dtype: type, what: str) -> np.ndarray:
    """As `dtype`, whatever numbers the file keeps them as: colours of 0 to 1 would all be black.

    Raises ValueError where a value would change.
    """
    with np.errstate(invalid="ignore"):
        fitted: np.ndarray = read.astype(dtype)
    if not np.array_equal(fitted, read):
        raise ValueError(f"{what} from {read.min():g} to {read.max():g} are not {np.dtype(dtype)}")
    return fitted
