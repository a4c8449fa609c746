"""Files of the Merlin family, in each of their layouts; and files that are refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from nltk.tokenize import wordpunct_tokenize
from tokenizers import pre_tokenizers
from torch import Tensor

import thoracle
from thoracle.ct.recipes.published import ASTRA_CHEST
from thoracle.ct.recipes.published import MERLIN as ABDOMEN
from thoracle.errors import CapabilityMissing, CheckpointDamaged, CheckpointIncomplete, InputError
from thoracle.models.bundle.import_published import ImportReport, import_checkpoint
from thoracle.models.encoder import Capability
from thoracle.models.merlin.config import MerlinConfig
from thoracle.models.merlin.model import pooled
from thoracle.models.merlin.spec import MERLIN

PREFIX = "encode_image.i3_resnet."


@pytest.fixture
def published(merlin_dir: Path) -> dict[str, Tensor]:
    return torch.load(merlin_dir / "tiny_model.pt", weights_only=True)


def imported(tmp_path: Path, content: object, **options: object) -> ImportReport:
    torch.save(content, tmp_path / "file.pt")
    return import_checkpoint(tmp_path / "file.pt", out=tmp_path / "model", **options)


def _body(published: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(PREFIX): tensor for name, tensor in published.items() if name.startswith(PREFIX)}


@torch.no_grad()
def test_merlins_own_layout(merlin_dir: Path, expected: dict[str, Tensor], tmp_path: Path, error: Callable) -> None:
    report = import_checkpoint(merlin_dir / "tiny_model.pt", out=tmp_path / "model")
    assert report.folder.config == MerlinConfig(width=4, layers=(1, 2, 3, 2), contrastive_dim=12, num_labels=7)
    assert report.folder.preprocess == ABDOMEN
    assert report.folder.labels == tuple(f"Phenotype {row}" for row in range(1, 8))
    assert any("phenotypes.csv" in sentence for sentence in report.assumptions)
    assert all(name.endswith("num_batches_tracked") or not name.startswith(PREFIX) for name in report.dropped)
    assert "logit_scale" in report.dropped
    encoder = thoracle.load(report.folder.path, device="cpu").encoder
    encoded = encoder.encode_volume(expected["input"])
    assert error(encoded.latent_BL, expected["contrastive_normalized"]) < 1e-5
    assert error(encoded.logits_BK.sigmoid(), expected["phenotype_probability"]) < 1e-5


@torch.no_grad()
def test_the_packages_layout(merlin_dir: Path, expected: dict[str, Tensor], tmp_path: Path, error: Callable) -> None:
    """Of bfloat16, which is computed in float32; no heads."""
    report = import_checkpoint(merlin_dir / "tiny_astra.pt", out=tmp_path / "model")
    assert report.folder.config == MerlinConfig(width=4, layers=(1, 2, 3, 2), contrastive_dim=None)
    assert report.folder.preprocess == ASTRA_CHEST
    assert report.folder.capabilities == {Capability.VOLUMES, Capability.LATENTS, Capability.TOKEN_GRID}
    model = thoracle.load(report.folder.path, device="cpu")
    assert report.parameters == sum(parameter.numel() for parameter in model.encoder.parameters())
    assert all(tensor.dtype == torch.float32 for tensor in model.encoder.state_dict().values())
    assert error(pooled(model.encoder.encode_volume(expected["input"]).tokens), expected["astra_pooled"]) < 1e-5
    with pytest.raises(CapabilityMissing, match="does not have findings"):
        model.detect(torch.zeros(224, 224, 160))


@pytest.mark.parametrize("prefix", ["", PREFIX, f"visual_encoder.model.{PREFIX}", f"module.visual_encoder.model.{PREFIX}", "module."])
@pytest.mark.parametrize("wrapper", ["", "model", "state_dict"])
def test_layouts_give_the_same_model(published: dict[str, Tensor], tmp_path: Path, prefix: str, wrapper: str) -> None:
    tensors = {prefix + name: tensor for name, tensor in _body(published).items()}
    if "visual_encoder" in prefix:
        tensors |= {f"{prefix.partition('visual')[0]}llama.layers.{number}.weight": torch.zeros(2) for number in range(9)}
    report = imported(tmp_path, {wrapper: tensors} if wrapper else tensors)
    (tmp_path / "reference").mkdir()
    reference = imported(tmp_path / "reference", published)
    assert report.folder.weights_sha256 == reference.folder.weights_sha256
    assert report.folder.config == reference.folder.config


def test_the_five_year_file_names_its_diseases(published: dict[str, Tensor], tmp_path: Path) -> None:
    tensors = _body(published)
    tensors |= {name: tensors[name][:6].clone() for name in ("classifier.weight", "classifier.bias")}
    report = imported(tmp_path, tensors)
    assert report.folder.labels[:2] == ("Cardiovascular disease", "Ischemic heart disease")
    assert len(report.folder.labels) == 6


def test_names_and_recipe_can_be_said(published: dict[str, Tensor], tmp_path: Path) -> None:
    report = imported(tmp_path, published, config={"labels": [*"abcdefg"], "recipe": "chest"})
    assert report.folder.labels == tuple("abcdefg")
    assert report.folder.preprocess == ASTRA_CHEST
    with pytest.raises(InputError, match="5 different labels are named, the classifier has 7"):
        imported(tmp_path, published, config={"labels": [*"abcde"]})
    with pytest.raises(InputError, match="recipe is 'head'"):
        imported(tmp_path, published, config={"recipe": "head"})


def test_published_sizes_follow_from_shapes_alone() -> None:
    config = MerlinConfig(num_labels=1692)
    guess = MERLIN.infer_config(MERLIN.weight_shapes(config), {})
    assert (guess.config, guess.preprocess) == (config, ABDOMEN)


@pytest.mark.parametrize("prefix", ["", PREFIX])
def test_names_of_a_newer_release_are_refused(published: dict[str, Tensor], tmp_path: Path, prefix: str) -> None:
    tensors = {prefix + name: tensor for name, tensor in _body(published).items()} | {f"{prefix}layer1.0.se.weight": torch.zeros(3)}
    with pytest.raises(CheckpointIncomplete, match=r"left over 1: layer1\.0\.se\.weight"):
        imported(tmp_path, tensors)


def test_a_part_of_a_file_is_refused(merlin_dir: Path, tmp_path: Path) -> None:
    """As the packages of weights hold them."""
    content = (merlin_dir / "tiny_astra.pt").read_bytes()
    (tmp_path / "part.bin").write_bytes(content[: len(content) // 3])
    with pytest.raises(CheckpointDamaged, match="a zip that cannot be read"):
        import_checkpoint(tmp_path / "part.bin", out=tmp_path / "model")


def test_half_of_the_tensors_are_refused(published: dict[str, Tensor], tmp_path: Path) -> None:
    for part in (".layer2.", ".layer2.1.conv2", ".bn1."):
        tensors = {name: tensor for name, tensor in published.items() if part not in name}
        with pytest.raises(CheckpointIncomplete, match=r"missing .*(layer2|bn1)"):
            imported(tmp_path, tensors)


def test_words_are_refused(merlin_dir: Path, tmp_path: Path) -> None:
    report = import_checkpoint(merlin_dir / "tiny_model.pt", out=tmp_path / "model")
    model = thoracle.load(report.folder.path, device="cpu")
    with pytest.raises(CapabilityMissing, match="does not have a text encoder"):
        model.encode_text(["pneumonia"])
    with pytest.raises(InputError, match="does not know Pneumonia") as refusal:
        model.detect(torch.zeros(224, 224, 160), abnormalities=["Pneumonia"])
    assert "Phenotype 1" in str(refusal.value)


@pytest.fixture
def with_text(published: dict[str, Tensor], tmp_path: Path) -> tuple[dict[str, Tensor], Path]:
    """Merlin's file with a whole Longformer, as transformers names it, and its tokenizer."""
    config = transformers.LongformerConfig(
        vocab_size=300, hidden_size=64, num_hidden_layers=2, num_attention_heads=1, intermediate_size=40, max_position_embeddings=70,
        type_vocab_size=1, pad_token_id=1, layer_norm_eps=1e-5, attention_window=512,
    )  # fmt: skip
    torch.manual_seed(0)
    longformer = transformers.LongformerModel(config)
    tensors = {name: tensor for name, tensor in published.items() if not name.startswith("encode_text.")}
    tensors |= {f"encode_text.text_encoder.{name}": tensor for name, tensor in longformer.state_dict().items()}
    tensors["encode_text.text_encoder.embeddings.position_ids"] = torch.arange(70)[None]
    tensors |= {"encode_text.linear_layer.weight": torch.randn(12, 64), "encode_text.linear_layer.bias": torch.randn(12)}
    words = tmp_path / "words"
    words.mkdir()
    letters = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    (words / "vocab.json").write_text(json.dumps({letter: number for number, letter in enumerate(letters)}))
    (words / "merges.txt").write_text("#version: 0.2\n")
    return tensors, words


@torch.no_grad()
def test_texts_come_with_the_tokenizer(with_text: tuple[dict[str, Tensor], Path], tmp_path: Path) -> None:
    tensors, words = with_text
    report = imported(tmp_path, tensors, tokenizer=words)
    bert = report.folder.config.bert
    assert (bert.attention_window, bert.position_scheme, bert.layer_norm_eps, bert.max_position_embeddings) == (512, "roberta", 1e-5, 70)
    assert Capability.TEXT in report.folder.capabilities
    texts = [name for name in report.dropped if name.startswith("encode_text.")]
    assert len(texts) == 15
    assert all(re.search(r"_global|\.pooler\.|position_ids$", name) for name in texts)
    model = thoracle.load(report.folder.path, device="cpu")
    latents = model.encode_text(["Pleural effusion, left.", "pleural  EFFUSION ,left ."])
    torch.testing.assert_close(latents[0], latents[1])
    assert latents[0].norm().item() == pytest.approx(1, abs=1e-5)
    with pytest.raises(CapabilityMissing, match="does not have zero-shot detection"):
        model.logit_scale()
    with pytest.raises(InputError, match="does not know Pneumonia, and takes no prompts"):
        model.detect(torch.zeros(224, 224, 160), abnormalities=["Pneumonia"])


def test_without_the_tokenizer_volumes_alone_are_read_and_it_is_said(with_text: tuple[dict[str, Tensor], Path], tmp_path: Path) -> None:
    report = imported(tmp_path, with_text[0])
    assert report.folder.config.bert is None
    assert any(
        sentence.startswith("its texts are left out, for which --tokenizer is needed: vocab.json") for sentence in report.assumptions
    )
    with pytest.raises(CapabilityMissing, match=r"or import this one's file again with --tokenizer \(vocab\.json"):
        thoracle.load(report.folder.path, device="cpu").encode_text(["pneumonia"])


def test_a_part_of_the_text_encoder_and_a_larger_tokenizer_are_refused(with_text: tuple[dict[str, Tensor], Path], tmp_path: Path) -> None:
    tensors, words = with_text
    part = {name: tensor for name, tensor in tensors.items() if "layer.1.output.dense" not in name}
    with pytest.raises(CheckpointIncomplete, match=r"missing 2: text_side\.text_encoder\.encoder\.layer\.1\.output\.dense"):
        imported(tmp_path, part, tokenizer=words)
    with pytest.raises(CheckpointIncomplete, match="linear_layer"):
        imported(tmp_path, {name: tensor for name, tensor in tensors.items() if "linear" not in name}, tokenizer=words)
    name = "encode_text.text_encoder.embeddings.word_embeddings.weight"
    with pytest.raises(InputError, match="the tokenizer knows 261 entries, the model 100"):
        imported(tmp_path, {**tensors, name: tensors[name][:100].clone()}, tokenizer=words)
    body = {name: tensor for name, tensor in tensors.items() if not name.startswith("encode_text")}
    with pytest.raises(InputError, match="this model reads no text"):
        imported(tmp_path, body, tokenizer=words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("No  pleural effusion.", "no pleural effusion ."),
        ("12-mm nodule (RUL)...", "12 - mm nodule ( rul )..."),
        ("a_b\n\tc'd", "a_b c ' d"),
    ],
)
def test_words_are_split_as_nltk_does(text: str, words: str) -> None:
    assert MERLIN.text_rules.normalize(text) == words
    assert " ".join(wordpunct_tokenize(text.lower())) == words
