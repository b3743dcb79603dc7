"""What every command line has in common."""

import pytest

from concerto.command_line import in_flags


@pytest.mark.parametrize(
    ("advice", "told"),
    [
        ("For an object, pass scale=2.5.", "For an object, pass --scale 2.5."),
        ("a larger grid_size; else pass scale=.", "a larger --grid-size; else pass --scale."),
        ("pass scale= (0.01 for centimetres)", "pass --scale (0.01 for centimetres)"),
        (
            "pass scale=; for more, a smaller grid_size.",
            "pass --scale; for more, a smaller --grid-size.",
        ),
        ("pass filename=, one of a.pth, b.pth", "pass --filename, one of a.pth, b.pth"),
        ("how many there are: columns=…", "how many there are: --columns …"),
        ('pass align="up"', 'pass --align "up"'),
        ("pass color_range=(0, 255)", "pass --color-range 0 255"),
    ],
)
def test_advice_speaks_of_flags_with_a_value_or_without(advice: str, told: str) -> None:
    assert in_flags(advice) == told
