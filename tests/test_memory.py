import pytest
import torch

from concerto import ConcertoConfig, InputError
from concerto.memory import parse_memory, slice_rows_within

GRID = torch.cartesian_prod(torch.arange(200), torch.arange(200), torch.zeros(1).long())


@pytest.mark.parametrize(
    ("amount", "size"),
    [(5, 5), ("5", 5), ("8GiB", 8 * 2**30), ("500 MB", 5 * 10**8), ("1.5k", 1500), ("2TiB", 2**41)],
)
def test_amounts_are_read_as_people_write_them(amount: int | str, size: int) -> None:
    assert parse_memory(amount) == size


@pytest.mark.parametrize("amount", [0, -1, True, 1.5, "", "0", "lots", "-1GB", "1PB", None])
def test_other_amounts_are_refused(amount: object) -> None:
    with pytest.raises(InputError, match="max_memory is"):
        parse_memory(amount)  # type: ignore[arg-type]


def test_more_memory_means_larger_slices_up_to_all_rows() -> None:
    config = ConcertoConfig.preset("base")
    rows = [slice_rows_within(size << 20, config, GRID, 4) for size in (140, 150, 170, 100_000)]
    assert rows == sorted(set(rows))
    assert rows[-1] == len(GRID)


def test_half_precision_needs_less() -> None:
    config = ConcertoConfig.preset("base")
    assert slice_rows_within(134 << 20, config, GRID, 2) > 0
    with pytest.raises(
        InputError, match=r"40,000 voxels need about \d+ MiB.*max_memory is 134 MiB"
    ):
        slice_rows_within(134 << 20, config, GRID, 4)
