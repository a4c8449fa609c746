"""A scan's tokens, kept small: they come back as the encoder gave them, and a file that is not of them counts as none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.models.tiny_configs import CONFIGS
from thoracle.ct.recipes.published import COLIPRI, MERLIN, SPECTRE
from thoracle.ct.recipes.recipe import FitToTiles
from thoracle.errors import CapabilityMissing
from thoracle.models.bundle.model_folder import ModelFolder, load_state_dict, save_model
from thoracle.models.chat.components import load_image_encoder
from thoracle.models.chat.scan_tokens import ScanTokens, TokenCache, check_gives_grid
from thoracle.models.ctclip.model import CTCLIP
from thoracle.models.encoder import VolumeEmbedding

SIZE = (60, 120, 120)
GRID = (6, 6, 6)  # 60 slices of 120 x 120 voxels in patches of 10 x 20 x 20


@pytest.fixture(scope="module")
def embedding(encoder: ModelFolder) -> VolumeEmbedding:
    """Of one volume of noise."""
    volume = torch.randn(1, 1, 60, 120, 120, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return load_image_encoder(encoder, device=torch.device("cpu")).encode_volume(volume)


@pytest.fixture(scope="module")
def grid_pool(encoder: ModelFolder, tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    """A model whose latents are read before the codebook."""
    config = replace(encoder.config, spatial_pool="grid")
    torch.manual_seed(0)
    return save_model(
        tmp_path_factory.mktemp("grid") / "model",
        kind=encoder.kind, config=config, preprocess=encoder.preprocess, labels=encoder.labels, tensors=CTCLIP(config).state_dict(),
        tokenizer=None, licence="x", trained=False,
    )  # fmt: skip


def test_codes_of_a_scan_come_back_as_the_encoders_tokens(encoder: ModelFolder, embedding: VolumeEmbedding) -> None:
    tokens = ScanTokens(encoder)
    assert (tokens.grid, tokens.width, tokens.shape, tokens.dtype) == (GRID, 64, GRID, torch.int32)
    kept = tokens.compress(embedding)
    assert (tuple(kept.shape), kept.dtype, kept.device.type) == (GRID, torch.int32, "cpu")
    assert kept.nbytes == 4 * 216
    assert tokens.is_compatible(kept)
    assert embedding.codes is not None
    torch.testing.assert_close(tokens.expand(kept[None]), embedding.codes)


def test_each_number_stands_for_its_row_of_the_codebook(encoder: ModelFolder) -> None:
    codebook = load_state_dict(encoder)["visual_transformer.vq._codebook.embed"][0]
    numbers = torch.tensor([[[[3, 0]]], [[[255, 3]]]], dtype=torch.int32)
    expanded = ScanTokens(encoder).expand(numbers)
    assert expanded.shape == (2, 1, 1, 2, 64)
    for scan, step, row in ((0, 0, 3), (0, 1, 0), (1, 0, 255), (1, 1, 3)):
        assert torch.equal(expanded[scan, 0, 0, step], codebook[row])


def test_tokens_before_the_codebook_are_kept_in_half_precision(grid_pool: ModelFolder) -> None:
    tokens = ScanTokens(grid_pool)
    assert (tokens.grid, tokens.width, tokens.shape, tokens.dtype) == (GRID, 64, (*GRID, 64), torch.float16)
    before = torch.randn(1, *GRID, 64, generator=torch.Generator().manual_seed(1))
    kept = tokens.compress(VolumeEmbedding(tokens=before, codebook_indices=torch.zeros(1, 216, dtype=torch.long)))
    assert (tuple(kept.shape), kept.dtype) == ((*GRID, 64), torch.float16)
    assert tokens.is_compatible(kept)
    expanded = tokens.expand(kept[None])
    assert expanded.dtype == torch.float32
    torch.testing.assert_close(expanded, before, rtol=2**-11, atol=1e-7)  # half precision has 11 bits


def test_another_models_tokens_are_told_by_shape_and_type(encoder: ModelFolder, grid_pool: ModelFolder) -> None:
    codes, before = torch.zeros(GRID, dtype=torch.int32), torch.zeros(*GRID, 64, dtype=torch.float16)
    for tokens, own, others in (
        (ScanTokens(encoder), codes, (codes.long(), codes[1:], codes[None], before)),
        (ScanTokens(grid_pool), before, (before.float(), before[..., 1:], before[None], codes)),
    ):
        assert tokens.is_compatible(own)
        assert not any(map(tokens.is_compatible, others))


def test_a_model_that_encodes_no_scan_is_refused(encoder: ModelFolder) -> None:
    check_gives_grid(encoder)
    projector = replace(encoder, kind="chat-projector")
    hint = r"Give a CT-CLIP, COLIPRI, Merlin, MedFinder, LiPro, CTViT, image-text, token-classifier or regions model"
    with pytest.raises(CapabilityMissing, match=rf"is CT-CHAT's projector.*, which gives no tokens on a regular grid.*{hint}") as error:
        ScanTokens(projector)
    assert error.value.source == str(encoder.path)


def test_an_encoder_of_crops_is_refused_whether_its_package_is_there_or_not(encoder: ModelFolder) -> None:
    crops = replace(encoder, kind="spectre", config=CONFIGS["spectre"], preprocess=SPECTRE)
    with pytest.raises(CapabilityMissing, match=r"is SPECTRE .*, which gives no tokens on a regular grid"):
        ScanTokens(crops)


def test_a_recipe_of_a_scans_own_size_is_refused(encoder: ModelFolder) -> None:
    recipe = replace(MERLIN, resampling=None, fit=FitToTiles(tile=(32, 32, 16), padding=0.0))
    with pytest.raises(CapabilityMissing, match=r"a recipe that leaves each scan its own size.*crops, pads or resizes to one size"):
        ScanTokens(replace(encoder, preprocess=recipe))


@pytest.mark.parametrize("value", [7e4, float("nan")])
def test_tokens_that_half_precision_does_not_hold_are_refused(grid_pool: ModelFolder, value: float) -> None:
    tokens = torch.zeros(1, *GRID, 64)
    tokens[0, 1, 2, 3, 4] = value
    with pytest.raises(CapabilityMissing, match=r"gives tokens of up to (70000|nan), where half precision ends at 65,504"):
        ScanTokens(grid_pool).compress(VolumeEmbedding(tokens=tokens))


@pytest.fixture
def cache(encoder: ModelFolder, tmp_path: Path) -> TokenCache:
    return TokenCache(tmp_path, ScanTokens(encoder))


def _codes(first: int = 0) -> Tensor:
    return torch.arange(first, first + 216, dtype=torch.int32).view(GRID)


def test_a_scans_tokens_are_kept_by_key_and_its_name_is_in_no_file(cache: TokenCache, tmp_path: Path) -> None:
    assert cache.get("PAT1") is None
    cache.put("PAT1", _codes())
    cache.put("PAT2", _codes(7).permute(2, 1, 0))
    for key, expected in (("PAT1", _codes()), ("PAT2", _codes(7).permute(2, 1, 0))):
        kept = cache.get(key)
        assert kept is not None
        assert torch.equal(kept, expected)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 2
    assert not any("PAT" in str(path.relative_to(tmp_path)) or b"PAT" in path.read_bytes() for path in files)


def test_another_encoder_keeps_its_own(encoder: ModelFolder, tmp_path: Path) -> None:
    """By weights, or by what weights do not tell: heads of attention, and the axes of the input."""
    colipri = replace(encoder, kind="colipri", config=CONFIGS["colipri"], preprocess=replace(COLIPRI, fit=replace(COLIPRI.fit, size=SIZE)))
    own = ScanTokens(colipri)
    assert own.shape == (3, 6, 6, 24)
    TokenCache(tmp_path, own).put("scan", torch.zeros(own.shape, dtype=own.dtype))
    for change in (
        {"weights_sha256": "b" * 64},
        {"config": replace(colipri.config, heads=4)},
        {"preprocess": replace(colipri.preprocess, axes="SAR")},
    ):
        assert TokenCache(tmp_path, ScanTokens(replace(colipri, **change))).get("scan") is None
    assert TokenCache(tmp_path, ScanTokens(replace(colipri, path=tmp_path, licence="another"))).get("scan") is not None


def test_a_file_that_is_damaged_or_holds_something_else_counts_as_none(cache: TokenCache, tmp_path: Path) -> None:
    cache.put("scan", _codes())
    (file,) = (path for path in tmp_path.rglob("*.safetensors"))
    content = file.read_bytes()
    for damaged in (b"", content[:-1], b"\xff" * len(content)):
        file.write_bytes(damaged)
        assert cache.get("scan") is None
    file.write_bytes(bytes(5000))  # more than codes and their header
    assert cache.get("scan") is None
    for tensors in ({"other": _codes()}, {"scan": _codes().long()}, {"scan": _codes()[1:].contiguous()}):
        save_file(tensors, file)
        assert cache.get("scan") is None
    cache.put("scan", _codes())
    assert cache.get("scan") is not None
