"""A model of the Merlin family: pooling, heads, and bodies without them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
import transformers
from torch import Tensor

from thoracle.models.encoder import EncodedText
from thoracle.models.merlin.model import Merlin, pooled
from thoracle.models.text.config import TextConfig


@torch.no_grad()
def test_published_heads(tiny: Merlin, expected: dict[str, Tensor], error: Callable) -> None:
    encoded = tiny.encode_volume(expected["input"])
    assert error(encoded.tokens.permute(0, 4, 3, 1, 2), expected["layer4"]) < 1e-5
    assert error(pooled(encoded.tokens), expected["pooled"]) < 1e-5
    assert error(encoded.latent_BL, expected["contrastive_normalized"]) < 1e-5
    assert error(encoded.logits_BK, expected["phenotype_logits"]) < 1e-5
    assert error(encoded.logits_BK.sigmoid(), expected["phenotype_probability"]) < 1e-5


@torch.no_grad()
def test_a_body_without_heads(tiny: Merlin, merlin_dir: Path, expected: dict[str, Tensor], error: Callable) -> None:
    published = torch.load(merlin_dir / "tiny_astra.pt", weights_only=True)["state_dict"]
    body = Merlin(replace(tiny.config, contrastive_dim=None, num_labels=0))
    body.load_state_dict({name: tensor for name, tensor in published.items() if not name.endswith("num_batches_tracked")})
    encoded = body.eval().encode_volume(expected["input"])
    assert error(pooled(encoded.tokens), expected["astra_pooled"]) < 1e-5
    assert error(encoded.latent_BL, torch.nn.functional.normalize(expected["astra_pooled"])) < 1e-5
    assert encoded.logits_BK is None


@torch.no_grad()
def test_other_volumes_of_a_batch_change_nothing(tiny: Merlin, expected: dict[str, Tensor]) -> None:
    both, alone = tiny.encode_volume(expected["input"]), tiny.encode_volume(expected["input"][:1])
    torch.testing.assert_close(both.latent_BL[:1], alone.latent_BL)


@torch.no_grad()
def test_texts_are_read_as_transformers_longformer_reads_them(tiny: Merlin, error: Callable) -> None:
    """Of two blocks of the window and more, one text padded: the first token's state, without global attention, mapped and normed."""
    sizes = {"vocab_size": 50, "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 40}
    other = {"max_position_embeddings": 60, "type_vocab_size": 1, "pad_token_id": 1, "layer_norm_eps": 1e-5}
    torch.manual_seed(0)
    theirs = transformers.LongformerModel(transformers.LongformerConfig(**sizes, **other, attention_window=8)).eval()
    for parameter in theirs.parameters():
        parameter.copy_(torch.randn(parameter.shape) * 0.3)
    bert = TextConfig(**sizes, **other, position_scheme="roberta", attention_window=8)
    model = Merlin(replace(tiny.config, bert=bert)).eval()
    used = {name: tensor for name, tensor in theirs.state_dict().items() if "_global." not in name and "pooler" not in name}
    model.text_side.text_encoder.load_state_dict(used)
    mask = (torch.arange(37) < torch.tensor([[37], [20]])).long()
    ids = torch.where(mask == 1, torch.randint(3, 50, mask.shape), 1)
    hidden = theirs(input_ids=ids, attention_mask=mask).last_hidden_state[:, 0]
    expected = torch.nn.functional.normalize(model.text_side.linear_layer(hidden), dim=-1)
    latents = model.encode_text(EncodedText(input_ids_BN=ids, attention_mask_BN=mask))
    assert error(latents, expected) < 1e-5
    everywhere = replace(model.config, bert=replace(bert, attention_window=None))
    seeing = Merlin(everywhere).eval()
    seeing.load_state_dict(model.state_dict())
    assert error(seeing.encode_text(EncodedText(input_ids_BN=ids, attention_mask_BN=mask)), expected) > 1e-3
    assert (model.max_text_tokens, model.logit_scale) == (58, None)
    assert Merlin(replace(everywhere, bert=replace(bert, max_position_embeddings=4098))).max_text_tokens == 1024
