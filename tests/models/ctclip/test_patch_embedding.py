"""Cells through windows, and a grid read by place: what each number of a cell is, and what a pool can tell apart."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thoracle.config_reader import config_from_mapping, config_to_mapping
from thoracle.errors import InputError
from thoracle.models.ctclip.config import CTCLIPConfig, CTViTConfig
from thoracle.models.ctclip.ctvit import CTViT
from thoracle.models.ctclip.model import CTCLIP
from thoracle.models.ctclip.patch_embedding import GridPool, SliceAttentionPool, WindowedPatchEmbedding
from thoracle.models.text.config import TextConfig

WINDOWS = ((-1.0, -0.5), (-0.1, 0.3))
SMALL = CTCLIPConfig(
    ctvit=CTViTConfig(
        dim=16, codebook_size=32, image_size=24, patch_size=6, temporal_patch_size=4, spatial_depth=1, temporal_depth=1,
        dim_head=8, heads=2, hu_windows=WINDOWS, subpatches=2, dim_cell=8,
    ),
    bert=TextConfig(vocab_size=32, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16),
    dim_latent=8,
    n_frames=8,
    spatial_pool="grid",
    pool_channels=3,
)  # fmt: skip


def _embedding() -> WindowedPatchEmbedding:
    torch.manual_seed(0)
    return WindowedPatchEmbedding(patch=(4, 6, 6), cells=2, windows=WINDOWS, dim_cell=5, dim=7)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_a_cell_is_its_mean_brightest_and_darkest_voxel_through_each_window(seed: int) -> None:
    volume = torch.randn(8, 12, 18, generator=torch.Generator().manual_seed(seed)) * 0.6
    found = _embedding()._described(volume)
    assert found.shape == (2, 2, 3, 8, 6)
    # The second patch along slices, first along rows, third along columns; its cell 5 is the lower, left, right one.
    cell = volume[6:8, 0:3, 15:18]
    for number, (low, high) in enumerate(WINDOWS):
        seen = (cell.clamp(low, high) - low) / (high - low) * 2 - 1
        expected = torch.stack([seen.mean(), seen.max(), seen.min()])
        torch.testing.assert_close(found[1, 0, 2, 5, 3 * number : 3 * number + 3], expected)


def test_a_token_does_not_know_where_in_its_patch_a_cell_lies() -> None:
    embedding, volume = _embedding(), torch.randn(1, 4, 6, 6)
    swapped = torch.cat([volume[:, 2:], volume[:, :2]], dim=1)
    torch.testing.assert_close(embedding(volume), embedding(swapped))


def test_blocks_of_a_patch_are_the_patches_of_half_its_size_by_the_same_weights() -> None:
    torch.manual_seed(0)
    large = replace(SMALL.ctvit, patch_size=12, temporal_patch_size=8, subpatches=4)
    whole, halves = CTViT(large), CTViT(SMALL.ctvit)
    halves.to_patch_emb.load_state_dict(whole.to_patch_emb.state_dict())
    volume = torch.randn(2, 1, 16, 24, 24)
    patches, expected = whole.embed_patches(volume), halves.embed_patches(volume)
    assert patches.patch_embeddings.shape == (2, 2, 2, 2, 16)
    assert patches.finest.shape == (2, 4, 4, 4, 16)
    torch.testing.assert_close(patches.finest, expected.patch_embeddings)
    torch.testing.assert_close(patches.cells, expected.cells, rtol=0, atol=0)
    assert expected.blocks is None
    assert expected.finest is expected.patch_embeddings


@pytest.mark.parametrize(("cells", "patch"), [(1, 6), (3, 6)])
def test_patches_of_an_odd_number_of_cells_have_no_blocks(cells: int, patch: int) -> None:
    config = replace(SMALL.ctvit, patch_size=patch, temporal_patch_size=3, subpatches=cells)
    patches = CTViT(config).embed_patches(torch.randn(1, 1, 6, 24, 24))
    assert patches.blocks is None
    assert patches.finest is patches.patch_embeddings


def test_a_grid_pool_knows_where_a_token_lies() -> None:
    torch.manual_seed(0)
    pool, tokens = GridPool(4, channels=2), torch.randn(1, 2, 2, 2, 4)
    pooled, moved = pool(tokens, tokens.mean(dim=1)), pool(tokens.flip(1), tokens.mean(dim=1))
    assert pooled.shape == (1, 8 * 2 + 2 * 4)
    assert not torch.allclose(pooled[:, :16], moved[:, :16])
    torch.testing.assert_close(pooled[:, 16:], moved[:, 16:])


def test_a_ct_clip_of_cells_and_grid_encodes_and_learns() -> None:
    torch.manual_seed(0)
    clip = CTCLIP(SMALL)
    ids = torch.randint(1, 32, (2, 6))
    loss = clip(ids, torch.ones_like(ids), torch.randn(2, 1, 8, 24, 24))
    loss.backward()
    assert clip.encode_volume(torch.randn(2, 1, 8, 24, 24)).latent_BL.shape == (2, 8)
    image = [name for name, p in clip.named_parameters() if name.startswith("visual_transformer") and p.grad is not None and p.grad.any()]
    assert any("hidden" in name for name in image)


def test_configurations_are_read_back_alike() -> None:
    assert config_from_mapping(CTCLIPConfig, config_to_mapping(SMALL)) == SMALL


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"subpatches": 4}, "does not divide patches"),
        ({"hu_windows": ((0.3, -0.1),)}, "must rise"),
    ],
)
def test_cells_and_windows_that_make_no_sense_are_refused(change: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        replace(SMALL.ctvit, **change)


@pytest.mark.parametrize("windows", [[[1.0]], "wide", [[True, 2.0]], [["a", "b"]]])
def test_windows_of_another_form_are_refused(windows: object) -> None:
    with pytest.raises(InputError, match=r"hu_windows.* must be a (list of 2|list, of which|number)"):
        config_from_mapping(CTViTConfig, {"hu_windows": windows})


def test_an_unknown_pool_is_refused() -> None:
    with pytest.raises(InputError, match="mean or grid"):
        replace(SMALL, spatial_pool="attic")


def test_attention_over_slices_begins_as_their_mean_and_leaves_it() -> None:
    pool, tokens = SliceAttentionPool(8, heads=2), torch.randn(2, 5, 3, 3, 8)
    torch.testing.assert_close(pool(tokens), tokens.mean(dim=1))
    with torch.no_grad():
        pool.weigh.weight[0, 0] = 1e4  # the first half of the channels: of the slice where channel 0 is largest
    best = tokens[..., 0].argmax(dim=1)[:, None, :, :, None].expand(-1, 1, -1, -1, 8)
    found = pool(tokens)
    torch.testing.assert_close(found[..., :4], tokens.gather(1, best)[:, 0, ..., :4])
    torch.testing.assert_close(found[..., 4:], tokens.mean(dim=1)[..., 4:])


def test_cells_lie_side_by_side_as_they_do_in_the_volume() -> None:
    """Each cell of a volume holds one value: the grid of cells has its mean at its own place."""
    embedding = WindowedPatchEmbedding(patch=(4, 6, 8), cells=2, windows=[(-1.0, 1.0)], dim_cell=3, dim=4)
    values = torch.rand(1, 6, 4, 4, generator=torch.Generator().manual_seed(0))
    volume = values.repeat_interleave(2, 1).repeat_interleave(3, 2).repeat_interleave(4, 3)
    cells = embedding.cell_grid(embedding.describe(volume))
    assert cells.shape == (1, 6, 4, 4, 3)
    for number in range(3):
        torch.testing.assert_close(cells[..., number], values)
