"""Projection heads."""

import torch

from concerto.training.pretraining.projection_head import ProjectionHead


def head() -> ProjectionHead:
    torch.manual_seed(0)
    return ProjectionHead(10, 16, 8, 5)


def test_logits_are_cosines_times_gains() -> None:
    module = head()
    module.prototypes.gain.copy_(torch.arange(1.0, 6.0)[:, None])
    x = torch.randn(7, 10)
    embedded = module.embed(x)
    assert torch.allclose(embedded.norm(dim=1), torch.ones(7))
    cosines = torch.cosine_similarity(embedded[:, None], module.prototypes.direction[None], dim=2)
    assert torch.allclose(module(x), cosines * torch.arange(1.0, 6.0), atol=1e-6)


def test_weights_begin_as_published() -> None:
    module = ProjectionHead(60, 64, 80, 90)
    for layer in (module.fc1, module.fc2):
        assert abs(layer.weight.std().item() - 0.02) < 0.002
        assert not layer.bias.any()
    # Uniform within ±1/√80.
    assert abs(module.prototypes.direction.std().item() - (3 * 80) ** -0.5) < 0.003


def test_gains_are_not_trained() -> None:
    names = {name for name, _ in head().named_parameters()}
    assert "prototypes.direction" in names
    assert "prototypes.gain" not in names
    assert "prototypes.gain" in head().state_dict()


def test_embeddings_and_logits_are_float32_under_autocast() -> None:
    module, x = head(), torch.randn(7, 10)
    with torch.autocast("cpu", torch.bfloat16):
        assert module.embed(x).dtype == module(x).dtype == torch.float32
        assert torch.allclose(module.embed(x).norm(dim=1), torch.ones(7), atol=1e-6)
