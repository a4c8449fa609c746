"""One text encoder comes back alike from every layout that it is published in, for labelers and for contrastive runs.

What transformers itself writes gives the hidden states that transformers computes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import BertConfig, BertForMaskedLM, BertModel, PreTrainedModel, RobertaConfig, RobertaForMaskedLM, RobertaModel

from thoracle.errors import CheckpointIncomplete, CheckpointUnknown, InputError
from thoracle.models.bundle.model_folder import save_model
from thoracle.models.bundle.pretrained_text import initialize_text, load_pretrained_text
from thoracle.models.text.classifier import TextClassifier
from thoracle.models.text.config import TextConfig
from thoracle.models.text.encoder import BertEncoder
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.types import ABNORMALITIES

SIZES = TextConfig(vocab_size=80, hidden_size=64, num_hidden_layers=1, num_attention_heads=1, intermediate_size=64)
WORDS = Tokenizer.from_words(["A nodule is seen."])


def state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return BertEncoder(SIZES).state_dict()


def hub(folder: Path, tensors: Mapping[str, Tensor], **described: object) -> Path:
    folder.mkdir()
    save_file(dict(tensors), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({**asdict(SIZES), "model_type": "bert", **described}))
    (folder / "vocab.txt").write_bytes(WORDS.files["vocab.txt"])
    return folder


def prefixed(prefix: str) -> Callable[[Path], Path]:
    """As the hub has it: no pooler, a head that is not ours."""

    def make(folder: Path) -> Path:
        tensors = {f"{prefix}{name}": tensor for name, tensor in state().items() if not name.startswith("pooler.")}
        return hub(folder, {**tensors, "cls.bias": torch.zeros(80)})

    return make


def open_clip(folder: Path) -> Path:
    folder.mkdir()
    tensors = {f"text.transformer.{name}": tensor for name, tensor in state().items()}
    torch.save({**tensors, "visual.trunk.cls_token": torch.zeros(1)}, folder / "open_clip_pytorch_model.bin")
    (folder / "vocab.txt").write_bytes(WORDS.files["vocab.txt"])
    return folder


def report_classifier(folder: Path) -> Path:
    classifier = TextClassifier(SIZES, n_labels=len(ABNORMALITIES))
    classifier.model.load_state_dict(state())
    save_model(
        folder, kind="text-classifier", config=SIZES, preprocess=None, labels=ABNORMALITIES, tensors=classifier.state_dict(),
        tokenizer=WORDS, licence="none", trained=True, caution="of phantoms",
    )  # fmt: skip
    return folder


FOLDERS = {
    "bert": prefixed("bert."),
    "roberta's prefix": prefixed("roberta."),
    "no prefix": prefixed(""),
    "open_clip": open_clip,
    "classifier": report_classifier,
}


@pytest.mark.parametrize("layout", FOLDERS)
def test_every_folder_gives_sizes_words_and_weights(layout: str, tmp_path: Path) -> None:
    folder = FOLDERS[layout](tmp_path / "text")
    pretrained = load_pretrained_text(folder)
    sizes, tokenizer = pretrained.described()
    assert sizes == SIZES  # positions among them: a BERT counts from 0
    assert tokenizer.fingerprint == WORDS.fingerprint
    torch.manual_seed(1)
    encoder = BertEncoder(SIZES)
    initialize_text(encoder, pretrained, config=SIZES)
    expected = state()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in encoder.state_dict().items() if not name.startswith("pooler."))


def test_a_report_classifier_keeps_its_head_and_what_it_was_trained_on(tmp_path: Path) -> None:
    pretrained = load_pretrained_text(report_classifier(tmp_path / "text"))
    assert set(pretrained.head) == {"classifier.weight", "classifier.bias"}
    assert pretrained.caution == "of phantoms"


def test_a_file_alone_has_weights_and_neither_sizes_nor_words(tmp_path: Path) -> None:
    file = prefixed("bert.")(tmp_path / "text") / "model.safetensors"
    pretrained = load_pretrained_text(file)
    initialize_text(BertEncoder(SIZES), pretrained, config=SIZES)
    with pytest.raises(InputError, match="weights alone"):
        pretrained.described()


def test_a_roberta_counts_positions_in_its_own_way(tmp_path: Path) -> None:
    tensors = {f"roberta.{name}": tensor for name, tensor in state().items()}
    pretrained = load_pretrained_text(hub(tmp_path / "text", tensors, model_type="roberta", pad_token_id=1))
    assert pretrained.described()[0] == replace(SIZES, position_scheme="roberta", pad_token_id=1)
    with pytest.raises(InputError, match="positions"):
        initialize_text(BertEncoder(SIZES), pretrained, config=SIZES)


def test_weights_of_other_sizes_are_refused(tmp_path: Path) -> None:
    pretrained = load_pretrained_text(prefixed("bert.")(tmp_path / "text") / "model.safetensors")
    wider = replace(SIZES, intermediate_size=128)
    with pytest.raises(CheckpointIncomplete, match="lacks"):
        initialize_text(BertEncoder(wider), pretrained, config=wider)


def test_a_folder_that_holds_no_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json"):
        load_pretrained_text(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="neither"):
        load_pretrained_text(tmp_path)


SMALL = {"vocab_size": 80, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
DROPOUT = {"hidden_dropout_prob": 0.25, "attention_probs_dropout_prob": 0.3}


class CXRBert(BertForMaskedLM):
    """CXR-BERT's layout (Microsoft, hi-ml): a masked language model and a projection of its own, without a pooler."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.cls_projection_head = nn.Sequential(nn.Linear(32, 16), nn.Linear(16, 16))


def published(kind: type[PreTrainedModel], folder: Path, *, shards: str = "1GB") -> PreTrainedModel:
    """Write a random model of transformers with its own `save_pretrained`."""
    torch.manual_seed(4)
    if issubclass(kind, RobertaModel | RobertaForMaskedLM):
        model = kind(RobertaConfig(**SMALL, **DROPOUT, max_position_embeddings=40, type_vocab_size=1, pad_token_id=1))
    else:
        model = kind(BertConfig(**SMALL, **DROPOUT, max_position_embeddings=38, projection_size=16))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)  # LayerNorms too, which otherwise all look alike
    model.eval().save_pretrained(folder, max_shard_size=shards)
    (folder / "vocab.txt").write_bytes(WORDS.files["vocab.txt"])
    return model


def as_pickles(folder: Path) -> None:
    """Write what lies in safetensors as transformers 4 wrote it without them, the index of several files among it."""
    renamed = {}
    for file in sorted(folder.glob("*.safetensors")):
        renamed[file.name] = file.name.replace("model", "pytorch_model").replace(".safetensors", ".bin")
        torch.save(load_file(file), folder / renamed[file.name])
        file.unlink()
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        values = json.loads(index.read_text())
        values["weight_map"] = {name: renamed[file] for name, file in values["weight_map"].items()}
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps(values))
        index.unlink()


def hidden(folder: Path) -> Tensor:
    """The last hidden states by our encoder of two texts, the second padded."""
    pretrained = load_pretrained_text(folder)
    sizes, _ = pretrained.described()
    assert (sizes.hidden_dropout_prob, sizes.attention_probs_dropout_prob) == (0.25, 0.3)
    encoder = BertEncoder(sizes)
    initialize_text(encoder, pretrained, config=sizes)
    with torch.inference_mode():
        return encoder.eval()(*texts(sizes.pad_token_id)).hidden_BND


def texts(pad: int) -> tuple[Tensor, Tensor]:
    ids_BN = torch.randint(5, 80, (2, 9), generator=torch.Generator().manual_seed(5))
    mask_BN = torch.ones_like(ids_BN)
    ids_BN[1, 6:], mask_BN[1, 6:] = pad, 0
    return ids_BN, mask_BN


@pytest.mark.parametrize("pickled", [False, True], ids=["safetensors", "bin"])
@pytest.mark.parametrize("shards", ["1GB", "20KB"])
@pytest.mark.parametrize("kind", [CXRBert, BertForMaskedLM, BertModel, RobertaModel, RobertaForMaskedLM])
def test_what_transformers_writes_gives_the_hidden_states_of_transformers(
    kind: type[PreTrainedModel], shards: str, pickled: bool, tmp_path: Path
) -> None:
    model = published(kind, tmp_path / "text", shards=shards)
    if pickled:
        as_pickles(tmp_path / "text")
    files = list((tmp_path / "text").glob("*.bin" if pickled else "*.safetensors"))
    assert (len(files) > 2) == (shards == "20KB")
    ids_BN, mask_BN = texts(model.config.pad_token_id)
    with torch.inference_mode():
        expected = getattr(model, model.base_model_prefix, model)(input_ids=ids_BN, attention_mask=mask_BN).last_hidden_state
    seen = mask_BN.bool()
    torch.testing.assert_close(hidden(tmp_path / "text")[seen], expected[seen], atol=1e-5, rtol=1e-5)


def test_what_is_not_the_encoders_is_counted_and_a_missing_pooler_is_said(tmp_path: Path) -> None:
    model = published(CXRBert, tmp_path / "text")
    saved = load_file(tmp_path / "text" / "model.safetensors")
    assert not [name for name in saved if "pooler" in name]
    pretrained = load_pretrained_text(tmp_path / "text")
    assert pretrained.prefix == "bert."
    assert pretrained.unused == len([name for name in saved if not name.startswith("bert.")]) >= 4
    assert "names behind 'bert.'" in pretrained.summary
    assert "no pooler" in pretrained.summary
    encoder = BertEncoder(pretrained.described()[0])
    before = encoder.pooler["dense"].weight.clone()
    initialize_text(encoder, pretrained, config=pretrained.described()[0])
    assert torch.equal(encoder.pooler["dense"].weight, before)
    assert torch.equal(encoder.embeddings.word_embeddings.weight, model.bert.embeddings.word_embeddings.weight)


@pytest.mark.parametrize(
    "prefix",
    ["module.", "_orig_mod.", "module._orig_mod.bert.", "model.clip.text_transformer.", "clip.module.text_transformer."],
)
def test_whatever_wrappers_put_before_the_names_is_taken_off_and_said(prefix: str, tmp_path: Path) -> None:
    expected = state()
    torch.save({"model": {f"{prefix}{name}": tensor for name, tensor in expected.items()}, "loss": 0.5}, tmp_path / "x.pt")
    pretrained = load_pretrained_text(tmp_path / "x.pt")
    assert pretrained.prefix == prefix.replace("_orig_mod.", "")
    assert pretrained.weights.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in pretrained.weights.items())


def test_names_of_berts_first_years_are_read(tmp_path: Path) -> None:
    """BERT's and BioBERT's files have gamma and beta."""
    tensors = {
        f"bert.{n.replace('LayerNorm.weight', 'LayerNorm.gamma').replace('LayerNorm.bias', 'LayerNorm.beta')}": t
        for n, t in state().items()
    }
    assert any(name.endswith("gamma") for name in tensors)
    pretrained = load_pretrained_text(hub(tmp_path / "text", tensors))
    assert pretrained.weights.keys() == state().keys()


def test_two_text_encoders_in_one_file_are_not_chosen_between(tmp_path: Path) -> None:
    save_file({f"{prefix}{n}": t for prefix in ("text.", "text_m.") for n, t in state().items()}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointUnknown, match=r"2 text encoders.*text\., text_m\."):
        load_pretrained_text(tmp_path / "x.safetensors")
    save_file({"visual.weight": torch.zeros(2)}, tmp_path / "y.safetensors")
    with pytest.raises(CheckpointUnknown, match=r"0 text encoders.*visual\.weight"):
        load_pretrained_text(tmp_path / "y.safetensors")
