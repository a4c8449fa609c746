"""Published files are recognised by their names, measured by their shapes, and come through bit for bit; others are told what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor
from transformers import BertConfig, RobertaConfig

from thoracle.ct.preprocess import PreprocessConfig
from thoracle.errors import CheckpointDamaged, CheckpointIncomplete, CheckpointUnknown, CheckpointUnsafe, InputError, TokenizerMissing
from thoracle.models.bundle.import_published import ImportReport, detect_kind, import_checkpoint
from thoracle.models.bundle.model_folder import load_state_dict, open_model
from thoracle.models.ctchat.config import ProjectorConfig
from thoracle.models.ctclip.config import PRESETS, CTCLIPConfig, CTViTConfig, published_ctclip_config
from thoracle.models.ctclip.model import CTCLIP
from thoracle.models.registry import REGISTRY
from thoracle.models.text.config import TextConfig
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.models.weights.checkpoint import read_checkpoint
from thoracle.types import ABNORMALITIES

TINY = PRESETS["tiny"]
#: File, its configuration, what it is, the prefix that the model folder leaves out, whether its sizes follow without a configuration.
GOLDEN = [
    ("ctclip_checkpoint.pt", "ctclip", "ct-clip", "", False),
    ("ctclip2_checkpoint.pt", "ctclip2", "ct-clip", "", True),
    ("lipro_checkpoint.pt", "ctclip", "ct-clip-classifier", "", False),
    ("lipro2_checkpoint.pt", "ctclip2", "ct-clip-classifier", "", True),
    ("text_classifier_checkpoint.pth", "text_classifier", "text-classifier", "", True),
    ("mm_projector.bin", None, "chat-projector", "model.mm_projector.", True),
]


def _config(golden: Path, name: str | None) -> dict[str, Any] | None:
    return json.loads((golden / "published" / f"{name}_config.json").read_text()) if name else None


def tiny(kind: str = "ct-clip") -> dict[str, Tensor]:
    """A state dict as published, tiny."""
    torch.manual_seed(0)
    config = {"ctvit": TINY.ctvit, "text-classifier": TINY.bert, "chat-projector": ProjectorConfig(num_queries=4, hidden_size=24)}.get(
        kind, TINY
    )
    return {name: torch.randn(shape) for name, shape in REGISTRY[kind].weight_shapes(config).items()}  # type: ignore[arg-type]


def imported(tmp_path: Path, content: object, **options: Any) -> ImportReport:
    torch.save(content, tmp_path / "file.pt")
    options.setdefault("config", {"bert": {"num_attention_heads": 4}, "n_frames": 60})
    return import_checkpoint(tmp_path / "file.pt", out=tmp_path / "model", **options)


@pytest.mark.parametrize(("file", "config", "kind", "prefix", "follows"), GOLDEN)
def test_golden_files_come_through_bit_for_bit(
    golden_dir: Path, tmp_path: Path, file: str, config: str | None, kind: str, prefix: str, follows: bool
) -> None:
    source = golden_dir / "published" / file
    report = import_checkpoint(source, out=tmp_path / "m", config=_config(golden_dir, config))
    assert open_model(tmp_path / "m", verify=True) == report.folder
    assert (report.folder.kind, report.folder.trained) == (kind, True)
    published = {name: tensor for name, tensor in read_checkpoint(source).items() if not name.endswith("position_ids")}
    weights = load_state_dict(report.folder)
    assert {prefix + name for name in weights} == set(published)
    assert all(torch.equal(tensor, published[prefix + name]) and tensor.dtype == torch.float32 for name, tensor in weights.items())
    assert report.dropped == tuple(name for name in read_checkpoint(source) if name.endswith("position_ids"))
    if follows:
        again = import_checkpoint(source, out=tmp_path / "again")
        assert again.folder.weights_sha256 == report.folder.weights_sha256
        assert len(again.assumptions) > len(report.assumptions) or config is None


def test_sizes_and_preprocessing_are_the_files_own(golden_dir: Path, tmp_path: Path) -> None:
    given = _config(golden_dir, "ctclip2")
    report = import_checkpoint(golden_dir / "published" / "ctclip2_checkpoint.pt", out=tmp_path / "m", config=given)
    assert report.folder.config == published_ctclip_config(given or {})
    assert report.folder.preprocess == PreprocessConfig(size=(15, 80, 80))
    assert report.folder.labels == ABNORMALITIES
    assert report.folder.prompts == ("{abnormality} is present.", "{abnormality} is not present.")


def test_an_imported_file_computes_the_published_numbers(golden_dir: Path, tmp_path: Path) -> None:
    source = golden_dir / "published"
    report = import_checkpoint(source / "ctclip2_checkpoint.pt", out=tmp_path / "m", config=_config(golden_dir, "ctclip2"))
    folder = report.folder
    assert isinstance(folder.config, CTCLIPConfig)
    model = CTCLIP(folder.config)
    model.load_state_dict(load_state_dict(folder))
    assert report.parameters == sum(parameter.numel() for parameter in model.parameters())
    expected = load_file(source / "ctclip2_expected.safetensors")
    with torch.inference_mode():
        latents = model.eval().encode_volume(expected["volume"]).latent_BL
    assert (latents - expected["image_latents"]).norm() <= 1e-5 * expected["image_latents"].norm()


@pytest.mark.parametrize("kind", ["ct-clip", "ct-clip-classifier", "ctvit", "text-classifier", "chat-projector"])
def test_published_sizes_follow_from_tensors_and_stated_assumptions_alone(kind: str) -> None:
    """The full size, by shapes only: nothing is allocated."""
    expected = {
        "ctvit": CTViTConfig(),
        "text-classifier": TextConfig(
            vocab_size=50265, max_position_embeddings=514, type_vocab_size=1, pad_token_id=1, position_scheme="roberta"
        ),
        "chat-projector": ProjectorConfig(),
    }.get(kind, CTCLIPConfig())
    guess = REGISTRY[kind].infer_config(REGISTRY[kind].weight_shapes(expected), {})
    assert guess.config == expected
    volumes = PreprocessConfig(size=(240, 480, 480))
    assert guess.preprocess == (volumes if kind in ("ct-clip", "ct-clip-classifier", "ctvit") else None)
    said = "; ".join(guess.assumptions)
    for part in {
        "ctvit": ("image_size is 480", "20 x 20", "n_frames is 240"),
        "text-classifier": ("num_attention_heads is 12", "layer_norm_eps is 1e-12"),
        "chat-projector": ("heads is 8",),
    }.get(kind, ("20 x 20", "24 x 24", "num_attention_heads is 12", "n_frames is 240", "layer_norm_eps is 1e-12")):
        assert part in said


def test_a_bare_encoder_is_recognised_alone(tmp_path: Path) -> None:
    report = imported(tmp_path, tiny("ctvit"), config={"ctvit": {"image_size": 120}, "n_frames": 60, "bert": {"hidden_size": 1}})
    assert (report.folder.kind, report.folder.config, report.folder.preprocess) == (
        "ctvit",
        TINY.ctvit,
        PreprocessConfig(size=(60, 120, 120)),
    )
    assert report.folder.labels == report.folder.prompts == ()


@pytest.mark.parametrize("kind", ["ct-clip", "ct-clip-classifier"])
def test_training_wrappers_and_ddp_names_are_taken_off(tmp_path: Path, kind: str) -> None:
    plain = imported(tmp_path, tiny(kind)).folder.weights_sha256
    ddp = {f"module.{name}": tensor for name, tensor in tiny(kind).items()}
    assert imported(tmp_path, ddp).folder.weights_sha256 == plain
    assert imported(tmp_path, {"model": ddp, "optimizer": {"lr": 1.0}, "step": 3}).folder.weights_sha256 == plain


@pytest.mark.parametrize("kind", ["ct-clip", "ct-clip-classifier", "ctvit", "text-classifier"])
@pytest.mark.parametrize(
    ("prefix", "unwrapped"),
    [
        ("_orig_mod.", ("_orig_mod.",)),
        ("module._orig_mod.", ("_orig_mod.", "module.")),
        ("model.clip.", ("model.clip.",)),
        ("network.module.model.", ("network.module.model.",)),
    ],
)
def test_what_wrappers_put_before_all_names_is_taken_off_and_said(
    tmp_path: Path, kind: str, prefix: str, unwrapped: tuple[str, ...]
) -> None:
    config = {"ctvit": {"ctvit": {"image_size": 120}, "n_frames": 60}, "text-classifier": {"num_attention_heads": 4}}.get(kind)
    options = {} if config is None else {"config": config}
    plain = imported(tmp_path, tiny(kind), **options)
    assert plain.unwrapped == ()
    wrapped = imported(tmp_path, {f"{prefix}{name}": tensor for name, tensor in tiny(kind).items()}, **options)
    assert wrapped.unwrapped == unwrapped
    assert wrapped.folder.weights_sha256 == plain.folder.weights_sha256


def test_several_files_and_their_index_are_imported_as_one(tmp_path: Path) -> None:
    plain = imported(tmp_path, tiny())
    folder, names = tmp_path / "sharded", sorted(tiny())
    folder.mkdir()
    places = {name: f"pytorch_model-0000{1 + number % 2}-of-00002.bin" for number, name in enumerate(names)}
    for file in set(places.values()):
        torch.save({name: tensor for name, tensor in tiny().items() if places[name] == file}, folder / file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    config = {"bert": {"num_attention_heads": 4}, "n_frames": 60}
    for path in (folder, folder / "pytorch_model.bin.index.json"):
        report = import_checkpoint(path, out=tmp_path / "again", config=config)
        assert report.folder.weights_sha256 == plain.folder.weights_sha256
    before = report.folder.source_sha256
    torch.save({name: tensor + 1 for name, tensor in tiny().items() if places[name] == file}, folder / file)
    assert import_checkpoint(folder, out=tmp_path / "again", config=config).folder.source_sha256 != before


def test_every_prefix_of_a_projector_is_taken_off(tmp_path: Path) -> None:
    shas = {
        imported(tmp_path, {prefix + name: tensor for name, tensor in tiny("chat-projector").items()}, config=None).folder.weights_sha256
        for prefix in ("mm_projector.", "model.mm_projector.", "base_model.model.model.mm_projector.")
    }
    assert len(shas) == 1


def test_half_precision_and_tied_weights_come_through(tmp_path: Path) -> None:
    tensors = {name: tensor.half() for name, tensor in tiny().items()}
    tensors["to_text_latent_extra.weight"] = tensors["to_text_latent.weight"]
    weights = load_state_dict(imported(tmp_path, tensors).folder)
    assert all(torch.equal(weights[name], tensor) and weights[name].dtype == torch.float16 for name, tensor in tensors.items())


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"ctvit": {"dim": 48}}, "ctvit.dim is 48, the tensors say 64"),
        ({"ctvit": {"patch_size": 10}}, "ctvit.patch_size is 10, the tensors say 20"),
        ({"ctvit": {"image_size": 480}}, "ctvit.image_size is 480, the tensors say 120"),
        ({"ctvit": {"heads": 8}}, "ctvit.heads is 8, the tensors say 4"),
        ({"bert": {"vocab_size": 30522}}, "bert.vocab_size is 30522, the tensors say 512"),
        ({"dim_latent": 512}, "config.dim_latent is 512, the tensors say 64"),
        ({"dim_image": 294912}, "294912"),
        ({"n_frames": 61}, "n_frames 61"),
        ({"bert": {"hidden_act": "relu"}}, "hidden_act is 'relu', only 'gelu'"),
        ({"bert": {"position_embedding_type": "relative_key"}}, "relative_key"),
        ({"bert": {"num_attention_heads": 5}}, "not a multiple"),
        ({"bert": {"hiden_size": 64}}, "hiden_size"),
        ({"ctvit": {"depth": 4}}, "depth"),
        ({"colour": 4}, "colour"),
        ({"ctvit": 5}, "not a mapping"),
    ],
)
def test_a_contradiction_names_both(tmp_path: Path, config: dict[str, Any], says: str) -> None:
    bert = {"num_attention_heads": 4, **config.get("bert", {})}
    with pytest.raises(InputError, match=says):
        imported(tmp_path, tiny(), config={"n_frames": 60, **config, "bert": bert})
    assert not (tmp_path / "model").exists()


def test_the_json_of_transformers_is_taken_as_it_is(tmp_path: Path) -> None:
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    bert = json.loads(BertConfig(vocab_size=512, **sizes).to_json_string(use_diff=False)) | {"projection_size": 128, "auto_map": {"x": "y"}}
    config = imported(tmp_path, tiny(), config={"bert": bert, "n_frames": 60}).folder.config
    assert isinstance(config, CTCLIPConfig)
    assert config.bert == TINY.bert
    roberta = json.loads(RobertaConfig(vocab_size=512, type_vocab_size=2, layer_norm_eps=1e-5, **sizes).to_json_string(use_diff=False))
    text = imported(tmp_path, tiny("text-classifier"), config=roberta).folder.config
    assert isinstance(text, TextConfig)
    assert (text.layer_norm_eps, text.pad_token_id, text.position_scheme) == (1e-5, 1, "roberta")


@given(
    name=st.sampled_from(sorted(REGISTRY["ct-clip"].weight_shapes(TINY))), what=st.sampled_from(["missing", "renamed", "reshaped", "added"])
)
@settings(max_examples=60, deadline=None)
def test_whatever_is_wrong_with_one_tensor_is_named(tmp_path_factory: pytest.TempPathFactory, name: str, what: str) -> None:
    tensors = tiny()
    tensor = tensors[name]
    if what != "added":
        del tensors[name]
    if what in ("renamed", "added"):
        tensors[f"{name}_2"] = tensor
    if what == "reshaped":
        tensors[name] = torch.zeros(*tensor.shape, 2)
    said = f"{name}_2" if what == "added" else name
    with pytest.raises((CheckpointIncomplete, InputError)) as error:
        imported(tmp_path_factory.mktemp("x"), tensors)
    assert said in str(error.value) or (what == "reshaped" and isinstance(error.value, CheckpointIncomplete))
    if what == "renamed":
        assert f"{name} (nearest: {name}_2)" in str(error.value)


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    tensors = tiny()
    pixels = "visual_transformer.to_pixels.0."
    tensors[f"{pixels}bias"] = torch.zeros(7)
    tensors[f"{pixels}wieght"] = tensors.pop(f"{pixels}weight")
    tensors["unheard_of"] = torch.zeros(1)
    with pytest.raises(CheckpointIncomplete) as error:
        imported(tmp_path, tensors)
    for part in (f"{pixels}weight (nearest: {pixels}wieght)", "unheard_of", f"{pixels}bias is (7,), expected (4000,)", "CT-CLIP"):
        assert part in str(error.value)


def test_unknown_files_are_told_what_is_known(tmp_path: Path) -> None:
    with pytest.raises(CheckpointUnknown, match=r"conv1\.weight.*CT-CLIP.*LiPro.*CT-CHAT") as error:
        imported(tmp_path, {"conv1.weight": torch.zeros(2), "\x1b[31mred": torch.zeros(2)})
    assert "\x1b" not in str(error.value)
    with pytest.raises(CheckpointUnknown, match="with and without"):
        detect_kind({"a": torch.zeros(1), "_orig_mod.a": torch.zeros(1)}, source=tmp_path)


def test_a_half_of_the_model_is_incomplete(tmp_path: Path) -> None:
    """Saved without the projections: no size of the image follows."""
    tensors = {name: tensor for name, tensor in tiny().items() if not name.startswith("to_")}
    with pytest.raises(CheckpointIncomplete, match=r"missing to_visual_latent\.weight"):
        imported(tmp_path, tensors)


def test_an_oblong_patch_or_grid_is_not_guessed(tmp_path: Path) -> None:
    tensors = tiny()
    tensors["to_visual_latent.weight"] = torch.zeros(64, 35 * 64)
    with pytest.raises(CheckpointIncomplete, match="35 is not a square"):
        imported(tmp_path, tensors)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_numbers_are_refused(tmp_path: Path, value: float) -> None:
    tensors = tiny()
    tensors["to_text_latent.weight"][3, 4] = value
    with pytest.raises(CheckpointDamaged, match=r"to_text_latent\.weight holds NaN or infinity"):
        imported(tmp_path, tensors)
    tensors["to_text_latent.weight"] = torch.zeros(64, 64, dtype=torch.int8)
    with pytest.raises(CheckpointDamaged, match="int8"):
        imported(tmp_path, tensors)


def test_the_tokenizer_is_copied_and_must_fit(tmp_path: Path) -> None:
    words = tmp_path / "words"
    words.mkdir()
    tokenizer = Tokenizer.from_words([f"{a} is not present." for a in ABNORMALITIES])
    (words / "vocab.txt").write_bytes(tokenizer.files["vocab.txt"])
    report = imported(tmp_path, tiny(), tokenizer=words)
    assert report.folder.tokenizer().fingerprint == tokenizer.fingerprint
    (words / "vocab.txt").write_bytes(tokenizer.files["vocab.txt"] + b"".join(b"x%d\n" % i for i in range(600)))
    with pytest.raises(InputError, match="the model 512"):
        imported(tmp_path, tiny(), tokenizer=words)
    with pytest.raises(InputError, match="reads no text"):
        imported(tmp_path, tiny("ctvit"), tokenizer=words, config={"ctvit": {"image_size": 120}})
    with pytest.raises(TokenizerMissing):
        imported(tmp_path, tiny(), tokenizer=tmp_path / "nowhere")


def test_the_card_carries_the_licence_of_published_weights(tmp_path: Path) -> None:
    folder = imported(tmp_path, tiny()).folder
    card = (folder.path / "README.md").read_text()
    assert "CC BY-NC-SA 4.0" in folder.licence
    assert all(paper in card for paper in folder.citations)
    assert "arXiv:2403.17834v2" in card
    assert folder.licence in card
    assert folder.source_sha256 is not None
    assert folder.source_sha256 in card


def test_code_in_the_file_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (tmp_path / "ran").touch, ()

    with pytest.raises(CheckpointUnsafe):
        imported(tmp_path, {**tiny(), "extra": Evil()})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file.pt"]
