import torch

from concerto.encoder.serialization import ORDERS, curve_codes, curve_depth, serialize


def full_grid(bits: int) -> torch.Tensor:
    side = torch.arange(2**bits)
    return torch.cartesian_prod(side, side, side)


def test_each_curve_visits_every_voxel_once() -> None:
    codes = curve_codes(full_grid(3), torch.full((512,), 3))
    assert torch.equal(codes.sort(dim=1).values, torch.arange(512).expand(4, -1))


def test_hilbert_curves_step_to_a_face_neighbour() -> None:
    grid = full_grid(4)
    codes = curve_codes(grid, torch.full((len(grid),), 4))
    for row in (ORDERS.index("hilbert"), ORDERS.index("hilbert-trans")):
        walk = grid[codes[row].argsort()]
        assert (walk.diff(dim=0).abs().sum(1) == 1).all()


def test_z_interleaves_bits_with_x_highest() -> None:
    codes = curve_codes(torch.tensor([[0b10, 0b01, 0b11]]), torch.tensor([2]))
    assert int(codes[ORDERS.index("z"), 0]) == 0b101_011


def test_trans_swaps_x_and_y() -> None:
    grid = full_grid(3)
    codes = curve_codes(grid, torch.full((512,), 3))
    swapped = curve_codes(grid[:, [1, 0, 2]], torch.full((512,), 3))
    assert torch.equal(codes[[1, 3]], swapped[[0, 2]])


def test_a_deeper_cloud_beside_it_does_not_change_a_clouds_codes() -> None:
    grid = full_grid(3)
    for depth in (3, 4, 5, 6):
        own = torch.full((512,), depth)
        alone = curve_codes(grid, own)
        deepest = torch.tensor([[2**16 - 1, 0, 5]])
        beside = curve_codes(torch.cat([grid, deepest]), torch.cat([own, torch.tensor([16])]))
        assert torch.equal(beside[:, :512], alone)


def test_depth_is_the_bit_length_of_the_largest_coordinate_plus_one() -> None:
    grid = torch.tensor([[0, 0, 0], [0, 1, 0], [126, 0, 3], [5, 127, 0], [0, 0, 65534]])
    depth = curve_depth(grid, torch.arange(5), 5)
    assert depth.tolist() == [(int(g.max()) + 1).bit_length() for g in grid]


def test_serialize_keeps_clouds_apart_and_in_order() -> None:
    torch.manual_seed(0)
    grid = torch.randint(0, 50, (200, 3))
    batch = torch.randint(0, 3, (200,))
    orders = serialize(grid, batch, 3)
    for order in orders:
        assert torch.equal(order.sort().values, torch.arange(200))
        assert (batch[order].diff() >= 0).all()
