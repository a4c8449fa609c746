"""CT-CHAT's projector: the published numbers, and what places add to them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from thoracle.errors import InputError
from thoracle.models.chat.components import load_projector
from thoracle.models.ctchat.config import ProjectorConfig
from thoracle.models.ctchat.projector import Projector, embed_findings

TINY = ProjectorConfig(num_queries=3, dim=8, dim_context=6, attention_dim=8, heads=2, hidden_size=10)


def test_the_published_file_projects_the_published_numbers(golden_dir: Path, error: Callable[[Tensor, Tensor], float]) -> None:
    expected = load_file(golden_dir / "published" / "chat_projector_expected.safetensors")
    projector = load_projector(golden_dir / "published" / "mm_projector.bin")
    assert (projector.config.num_queries, projector.config.hidden_size, projector.config.heads) == (16, 96, 8)
    with torch.inference_mode():
        assert error(projector(expected["encoded_tokens"]), expected["projected"]) < 1e-5


def test_queries_see_a_set_of_tokens_unless_places_are_learned() -> None:
    torch.manual_seed(0)
    tokens = torch.randn(1, 2, 2, 1, 6)
    moved = tokens.flip(1)
    published = Projector(TINY)
    torch.testing.assert_close(published(tokens), published(moved))
    placed = Projector(ProjectorConfig(**{**vars(TINY), "num_positions": 4}))
    assert placed.attn_pool.place is not None
    torch.nn.init.normal_(placed.attn_pool.place)
    assert not torch.allclose(placed(tokens), placed(moved))
    with pytest.raises(InputError, match="6 tokens of a scan, where num_positions of the projector is 4"):
        placed(torch.randn(1, 3, 2, 1, 6))


def test_findings_are_named_before_the_queries_rows_with_what_is_shown_of_them() -> None:
    torch.manual_seed(0)
    projector = Projector(ProjectorConfig(**{**vars(TINY), "num_positions": 2, "num_findings": 2}))
    rows = projector.findings
    assert rows is not None
    torch.nn.init.normal_(rows.name)
    torch.nn.init.normal_(rows.said)
    yes, no, left, right = rows.said
    rows.bias.data[:] = torch.tensor([0.0, -100, -100, -100, -100, -100])
    rows.weight.data[0, 6] = rows.weight.data[2, 6] = 200.0  # there and on the right, by the second place's first channel
    tokens = torch.zeros(2, 2, 1, 1, 6)
    tokens[0, 1, 0, 0, 0] = 1.0
    got = projector(tokens)
    assert got.shape == (2, 5, 10)
    torch.testing.assert_close(got[0, :2], torch.stack([rows.name[0] + yes + right, rows.name[1] + no]))
    torch.testing.assert_close(got[1, 0], rows.name[0] + (yes + no) / 2)
    told = torch.tensor([[[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]])
    torch.testing.assert_close(embed_findings(told, rows.name, rows.said), got[:1, :2])
    torch.testing.assert_close(embed_findings(torch.ones(1, 2, 3), rows.name, rows.said), (rows.name + yes + left + right)[None])
    assert not rows.weight.requires_grad
