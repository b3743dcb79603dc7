import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import concerto
from concerto import InputError

XYZ, RGB, NORMAL = [[1.5, -2.0, 448262.123456]], [[255, 0, 51]], [[0.0, -0.6, 0.8]]
COLOR = [[1.0, 0.0, 0.2]]


def read(tmp_path: Path, text: str, suffix: str = ".xyz") -> concerto.PointCloud:
    (tmp_path / f"a{suffix}").write_text(text, encoding="latin-1")
    return concerto.read(tmp_path / f"a{suffix}")


def lists(values: torch.Tensor | None) -> list[list[float]] | None:
    return None if values is None else values.double().numpy().round(6).tolist()


@pytest.mark.parametrize("separator", [" ", "\t", "   ", ",", ", ", ";", " ; "])
@pytest.mark.parametrize("suffix", [".xyz", ".txt", ".csv"])
@pytest.mark.parametrize(
    ("rows", "color", "normal"),
    [
        ([XYZ], None, None),
        ([XYZ, [[0.7]]], None, None),
        ([XYZ, RGB], COLOR, None),
        ([XYZ, NORMAL], None, NORMAL),
        ([XYZ, [[-3]], RGB], COLOR, None),
        ([XYZ, RGB, [[0.3]]], COLOR, None),
        ([XYZ, RGB, NORMAL], COLOR, NORMAL),
    ],
)
def test_the_number_of_columns_says_what_they_are(
    tmp_path: Path, separator: str, suffix: str, rows: list, color: list, normal: list
) -> None:
    line = separator.join(f"{value:.15g}" for part in rows for value in part[0])
    cloud = read(tmp_path, f"{line}\n{line}\n\n", suffix)
    assert cloud.coord.dtype == torch.float64
    assert lists(cloud.coord) == XYZ * 2
    assert lists(cloud.color) == (color and color * 2)
    assert lists(cloud.normal) == (normal and normal * 2)


@pytest.mark.parametrize(
    "rows",
    [
        ["0 0 1", "0 0 1"],
        ["0 0 1", "1 0 0", "0 0.6 0.8"],
        ["0.577 0.577 0.578", "nan nan nan"],
        ["0 0 1", "0 0 0", "0 -0.6 0.81"],
    ],
)
def test_three_more_columns_of_length_1_are_normals(tmp_path: Path, rows: list[str]) -> None:
    text = "".join(f"1 2 3 {row}\n" for row in rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NaN is unknown
        cloud = read(tmp_path, text)
    assert cloud.color is None
    given = torch.tensor([[float(value) for value in row.split()] for row in rows]).nan_to_num()
    assert torch.allclose(cloud.normal, given, atol=0.01)


@pytest.mark.parametrize(
    "rows",
    [
        ["0 0 1", "0 0 0"],
        ["0 0 0", "0 0 0"],
        ["0 0 1", "0.5 0.5 0.5"],
        ["0 0 255", "0 255 0"],
        ["0 0.6 0.81", "0 0.6 0.8"],
    ],
)
def test_three_more_columns_of_other_lengths_are_colours(tmp_path: Path, rows: list[str]) -> None:
    cloud = read(tmp_path, "".join(f"1 2 3 {row}\n" for row in rows))
    assert cloud.normal is None
    given = torch.tensor([[float(value) for value in row.split()] for row in rows])
    assert torch.allclose(cloud.color, given / (255 if given.max() > 1 else 1))


@pytest.mark.parametrize(
    "header",
    ["r g b x y z label", "//R G B X Y Z label", "# red,green,blue,x,y,z,label",
     '"R";"G";"B";"X";"Y";"Z";"label"', "// a note\nr g b x y z label\n# another"],
)  # fmt: skip
def test_a_header_names_the_columns_whatever_else_they_hold(tmp_path: Path, header: str) -> None:
    cloud = read(tmp_path, f"{header}\n255 0 51 1 2 3 chair // seen\n255 0 51 4 5 6 wall\n")
    assert lists(cloud.coord) == [[1, 2, 3], [4, 5, 6]]
    assert lists(cloud.color) == COLOR * 2


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("X,Y,Z,Return Number,Number Of Returns,Scan Angle", "1,2,3,1,1,0"),
        ('"X";"Y";"Z";"Return Number";"Scan Angle"', "1;2;3;1;0"),
        ("// X\tY\tZ\tScan Angle\tReturn Number", "1\t2\t3\t0\t1"),
        ("X,Y,Z,a,b,c\n# x y z in metres", "1,2,3,1,1,0"),
    ],
)
def test_names_with_spaces_are_no_colours(tmp_path: Path, header: str, row: str) -> None:
    cloud = read(tmp_path, f"{header}\n{row}\n{row}\n")
    assert lists(cloud.coord) == [[1, 2, 3]] * 2
    assert cloud.color is None
    assert cloud.normal is None


@pytest.mark.parametrize("start", ["", "\ufeff", "2\n", "# points\n\n", "// x y z of the roof\n"])
def test_what_stands_before_the_points_is_passed_over(tmp_path: Path, start: str) -> None:
    (tmp_path / "a.xyz").write_text(f"{start}1 2 3\r\n# in between\r\n4 5 nan")
    cloud = concerto.read(tmp_path / "a.xyz")
    assert torch.equal(cloud.coord[0], torch.tensor([1.0, 2, 3], dtype=torch.float64))
    assert cloud.coord[1, 2].isnan()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no points"),
        ("# nothing\n", "no points"),
        ("1 2\n", "2 columns, and nothing says what they are"),
        ("1 2 3 4 5\n", "5 columns"),
        ("1 2 3 9 9 9 9\n", "red green blue intensity"),
        ("1 2 3\n4 5\n", "cannot be read as XYZ: the number of columns"),
        ("1 2 3\n4 5 six\n", "cannot be read as XYZ: could not convert"),
        ("a b c\n", "cannot be read as XYZ"),
        ("x y z Return Number a b\n1 2 3 1 1 1\n", "have 6 columns.*'x y z Return Number a b' "),
        ("# x y z roof\n1 2 3 4 5 6\n", "have 6 columns.*names another number"),
        ("y x z label\n1 2 3\n", "have 3 columns.*'y x z label' names another number"),
        ("1 2 3 -4 5 6\n", "If these are normals"),
        ("1 2 3\n" + "4 " * 6000, "a line of 10,000 characters"),
        ("\x00\x01" * 99, "cannot be read as XYZ"),
    ],
)
def test_an_unreadable_file_gives_one_clear_error(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, text)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(*[st.floats(-1e9, 1e9)] * 3), min_size=1, max_size=20),
    separator=st.sampled_from([" ", ",", ";", "\t"]),
)
def test_any_coordinates_are_read_exactly(
    tmp_path: Path, rows: list[tuple[float, ...]], separator: str
) -> None:
    cloud = read(tmp_path, "\n".join(separator.join(map(repr, row)) for row in rows))
    assert np.array_equal(cloud.coord.numpy(), np.array(rows))
