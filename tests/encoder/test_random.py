import torch

from concerto.encoder.random import _mix, hash_seeds, hash_uniform


def test_the_hash_is_splitmix64() -> None:
    # The first output of splitmix64 from state 0, a widely published test value.
    assert int(_mix(torch.tensor(0x9E3779B97F4A7C15 - 2**64))) % 2**64 == 0xE220A8397B1DCDAF


def test_numbers_are_uniform_in_seeds_and_in_counters() -> None:
    seeds, counters = torch.arange(400)[:, None], torch.arange(500)
    drawn = hash_uniform(seeds, counters)
    assert drawn.dtype == torch.float32
    assert drawn.shape == (400, 500)
    assert float(drawn.min()) >= 0
    assert float(drawn.max()) < 1
    counts = torch.histc(drawn, bins=50, min=0, max=1)
    expected = drawn.numel() / 50
    assert float(((counts - expected) ** 2 / expected).sum()) < 90  # chi-squared, p = 0.0003
    for dim in (0, 1):
        near = torch.corrcoef(torch.stack([drawn.flatten(), drawn.roll(1, dim).flatten()]))
        assert abs(float(near[0, 1])) < 0.01


def test_seeds_and_counters_all_matter_and_repeat() -> None:
    seed = torch.tensor([3])
    draws = {int(hash_seeds(seed, *c)) for c in [(), (0,), (1,), (0, 0), (0, 1), (1, 0)]}
    assert len(draws) == 6
    assert torch.equal(hash_uniform(seed, 1, 2), hash_uniform(torch.tensor(3), 1, 2)[None])
