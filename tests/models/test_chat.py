"""CT-CHAT's projector: the published numbers, and what places add to them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from thoracle.errors import InputError
from thoracle.models.chat import Projector
from thoracle.models.chat_parts import open_projector
from thoracle.models.config import ProjectorConfig

TINY = ProjectorConfig(queries=3, dim=8, dim_context=6, inner=8, heads=2, hidden=10)


def test_the_published_file_projects_the_published_numbers(golden_dir: Path, error: Callable[[Tensor, Tensor], float]) -> None:
    expected = load_file(golden_dir / "published" / "chat_projector_expected.safetensors")
    projector = open_projector(golden_dir / "published" / "mm_projector.bin")
    assert (projector.config.queries, projector.config.hidden, projector.config.heads) == (16, 96, 8)
    with torch.inference_mode():
        assert error(projector(expected["encoded_tokens"]), expected["projected"]) < 1e-5


def test_queries_see_a_set_of_tokens_unless_places_are_learned() -> None:
    torch.manual_seed(0)
    tokens = torch.randn(1, 2, 2, 1, 6)
    moved = tokens.flip(1)
    published = Projector(TINY)
    torch.testing.assert_close(published(tokens), published(moved))
    placed = Projector(ProjectorConfig(**{**vars(TINY), "places": 4}))
    assert placed.attn_pool.place is not None
    torch.nn.init.normal_(placed.attn_pool.place)
    assert not torch.allclose(placed(tokens), placed(moved))
    with pytest.raises(InputError, match="6 tokens of a scan, where the projector knows 4 places"):
        placed(torch.randn(1, 3, 2, 1, 6))


def test_a_finding_is_named_before_the_queries_rows_as_far_as_it_is_shown() -> None:
    torch.manual_seed(0)
    projector = Projector(ProjectorConfig(**{**vars(TINY), "places": 2, "findings": 2}))
    rows = projector.findings
    assert rows is not None
    torch.nn.init.normal_(rows.name)
    torch.nn.init.normal_(rows.none)
    rows.weight.data[0, 6] = 100.0  # the second place's first channel
    tokens = torch.zeros(1, 2, 1, 1, 6)
    tokens[0, 1, 0, 0, 0] = 1.0
    got = projector(tokens)
    assert got.shape == (1, 5, 10)
    torch.testing.assert_close(got[0, 0], rows.name[0])
    torch.testing.assert_close(got[0, 1], (rows.name[1] + rows.none) / 2)
    assert not rows.weight.requires_grad
    with pytest.raises(InputError, match="findings needs"):
        ProjectorConfig(findings=2)
