from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import thoracle
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.ct.volume import Volume
from thoracle.errors import CapabilityMissing, InputError, ModelFolderInvalid, TokenizerMissing
from thoracle.inference.calibration import Calibration, LabelCalibration, save_calibration
from thoracle.inference.demo.assets import write_model
from thoracle.inference.model import Model, load
from thoracle.inference.prepare import prepare
from thoracle.inference.requested_findings import Finding
from thoracle.models.bundle.model_folder import load_state_dict, open_model, save_model
from thoracle.models.ctclip.config import PRESETS, CTCLIPConfig, published_ctclip_config
from thoracle.models.ctclip.model import CTCLIP
from thoracle.models.registry import REGISTRY
from thoracle.models.text.config import TextConfig
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.types import ABNORMALITIES


@pytest.fixture(scope="module")
def volume(sketch: Path) -> Volume:
    return thoracle.read(sketch)


@pytest.fixture(scope="module")
def shared_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "model").path


@pytest.fixture(scope="module")
def model(shared_dir: Path) -> Model:
    return load(shared_dir, device="cpu")


def other_kind(source: Path, out: Path, kind: str) -> Path:
    """The tiny model as a LiPro model, a bare CTViT or a text classifier."""
    folder = open_model(source)
    tensors, config = load_state_dict(folder), folder.config
    assert isinstance(config, CTCLIPConfig)
    generator = torch.Generator().manual_seed(1)
    if kind == "ct-clip-classifier":
        made = {f"trained_model.{name}": tensor for name, tensor in tensors.items()}
        made["classifier.weight"] = torch.randn(len(ABNORMALITIES), config.dim_latent, generator=generator)
        made["classifier.bias"] = torch.randn(len(ABNORMALITIES), generator=generator)
    elif kind == "ctvit":
        config = config.ctvit
        made = {name.removeprefix("visual_transformer."): t for name, t in tensors.items() if name.startswith("visual_transformer.")}
    else:
        config = config.bert
        made = {name: torch.randn(shape, generator=generator) for name, shape in REGISTRY["text-classifier"].weight_shapes(config).items()}
    save_model(
        out,
        kind=kind,
        config=config,
        preprocess=None if isinstance(config, TextConfig) else folder.preprocess,
        labels=() if kind == "ctvit" else ABNORMALITIES,
        tensors=made,
        tokenizer=None,
        licence="none",
        trained=False,
    )
    return out


def test_findings_are_the_models_labels_with_probabilities(model: Model, volume: Volume) -> None:
    findings = model.detect(volume)
    assert findings.abnormalities == ABNORMALITIES
    assert all(0 < p < 1 for p in findings.probabilities)
    assert len(set(findings.probabilities)) == len(ABNORMALITIES)
    assert findings.provenance == volume.provenance
    assert (findings.model_sha256, findings.model_kind, findings.trained) == (model.folder.weights_sha256, "ct-clip", False)
    assert findings.notice == "Research use only. Not a medical device."


def test_probabilities_are_the_published_formula(model: Model, volume: Volume) -> None:
    """softmax over exp(temperature) * cosine of the two prompts, one pass for the volume."""
    tensors = load_state_dict(model.folder)
    latent = model.encode_volume(volume).latent_BL
    texts = [f"{name} is {no}present." for name in ABNORMALITIES for no in ("", "not ")]
    logits = (tensors["temperature"].exp() * model.encode_text(texts) @ latent[0]).view(-1, 2)
    assert model.detect(volume).probabilities == pytest.approx(logits.softmax(-1)[:, 0].tolist(), abs=1e-6)


def test_similarity_is_the_cosine_times_the_exponential_of_the_temperature(model: Model, volume: Volume) -> None:
    """As logits of the contrastive loss are; `test_published_losses` holds the same product to the published code's."""
    learned = load_state_dict(model.folder)["temperature"].item()
    assert model.temperature == pytest.approx(learned, abs=1e-6)
    assert model.logit_scale().item() == pytest.approx(math.exp(learned))
    other, texts = (
        np.random.default_rng(0).uniform(-1, 1, model.preprocess.size).astype(np.float32),
        ["Cardiomegaly.", "No nodule.", "Bone."],
    )
    similarity = model.similarity([volume, other], texts)
    assert (similarity.shape, similarity.dtype) == ((2, 3), np.float32)
    for row, scan in zip(similarity, (volume, other), strict=True):
        for value, text in zip(row, texts, strict=True):
            cosine = float(model.volume_latent(scan) @ model.encode_text([text])[0].numpy())
            assert value == pytest.approx(math.exp(learned) * cosine, abs=1e-5)
    probability = 1 / (1 + np.exp(-np.subtract(*model.similarity([volume], ["Emphysema is present.", "Emphysema is not present."])[0])))
    assert model.detect(volume, abnormalities=["Emphysema"]).probabilities[0] == pytest.approx(probability, abs=1e-5)
    with pytest.raises(InputError, match="no scan to compare"):
        model.similarity([], texts)


def test_one_text_alone_is_not_taken_for_its_letters(model: Model, volume: Volume) -> None:
    for asked in (
        lambda: model.encode_text("Cyst."),
        lambda: model.similarity([volume], "Cyst."),
        lambda: model.detect(volume, abnormalities="Cyst"),
    ):
        with pytest.raises(InputError, match="Put it into a list"):
            asked()
    for empty in (None, float("nan"), 3):
        with pytest.raises(InputError, match=f"^{empty} where a text was expected"):
            model.encode_text(["Cyst.", empty])


def test_the_volume_is_encoded_once_for_all_prompts(model: Model, volume: Volume) -> None:
    runs = []
    hook = model.encoder.visual_transformer.register_forward_hook(lambda *_: runs.append(1))
    try:
        model.detect(volume)
    finally:
        hook.remove()
    assert len(runs) == 1


def test_volume_prepared_array_and_tensor_say_the_same(model: Model, volume: Volume) -> None:
    array = thoracle.preprocess(volume, model.preprocess)
    shown = [volume, prepare(volume, model.preprocess), array, torch.from_numpy(array), array.astype(np.float64)]
    latents = [model.encode_volume(one).latent_BL for one in shown]
    assert all(torch.equal(latents[0], other) for other in latents[1:])
    assert model.detect(array).provenance is None


def test_tokens_codes_and_latent_have_the_shapes_of_the_config(model: Model, volume: Volume) -> None:
    encoding = model.encode_volume(volume)
    config = PRESETS["tiny"]
    steps, grid = config.n_frames // config.ctvit.temporal_patch_size, config.ctvit.grid
    assert encoding.tokens.shape == (1, steps, grid, grid, config.ctvit.dim)
    assert encoding.codebook_indices.shape == (1, steps * grid * grid)
    assert encoding.latent_BL.norm(dim=-1).item() == pytest.approx(1)
    assert torch.equal(model.encode_tokens(volume).tokens, encoding.tokens)


@pytest.mark.parametrize("shape", [(60, 120, 60), (50, 120, 120), (120, 120), (1, 1, 60, 120, 120)])
def test_an_array_of_another_size_is_refused(model: Model, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="60, 120, 120"):
        model.encode_volume(np.zeros(shape, np.float32))


def text_runs(model: Model, volume: Volume) -> int:
    """How often the text encoder runs in a detection."""
    runs: list[int] = []
    hook = model.encoder.text_transformer.register_forward_hook(lambda *_: runs.append(1))
    try:
        model.detect(volume)
    finally:
        hook.remove()
    return len(runs)


def test_prompts_are_encoded_once_for_all_runs(model_dir: Path, volume: Volume) -> None:
    assert text_runs(load(model_dir), volume) == 1
    second = load(model_dir)
    assert text_runs(second, volume) == 0
    assert text_runs(second, volume) == 0
    assert len(list(model_dir.glob("prompt-latents-*.safetensors"))) == 1


@pytest.mark.parametrize("what", ["weights", "prompts", "tokenizer"])
def test_other_weights_prompts_or_words_are_encoded_anew(model_dir: Path, tmp_path: Path, volume: Volume, what: str) -> None:
    load(model_dir).detect(volume)
    folder = open_model(model_dir)
    tensors, tokenizer = load_state_dict(folder), folder.tokenizer()
    other = tmp_path / "other"
    if what == "weights":
        tensors = {**tensors, "to_text_latent.weight": tensors["to_text_latent.weight"].flip(0).contiguous()}
    if what == "tokenizer":
        tokenizer = Tokenizer.from_words(["zebra", *(f"{name} is not present." for name in ABNORMALITIES)])
    save_model(
        other,
        kind="ct-clip",
        config=folder.config,
        preprocess=folder.preprocess,
        labels=folder.labels[::-1] if what == "prompts" else folder.labels,
        tensors=tensors,
        tokenizer=tokenizer,
        licence="none",
        trained=False,
    )
    for kept in model_dir.glob("prompt-latents-*"):
        shutil.copy(kept, other)
    assert text_runs(load(other), volume) == 1


def test_any_words_can_be_asked_of_a_zero_shot_model(model: Model, volume: Volume) -> None:
    findings = model.detect(volume, abnormalities=["Cardiomegaly", "Rib fracture"])
    assert findings.abnormalities == ("Cardiomegaly", "Rib fracture")
    index = ABNORMALITIES.index("Cardiomegaly")
    assert findings.probabilities[0] == pytest.approx(model.detect(volume).probabilities[index], abs=1e-6)


def test_a_finding_with_prompts_of_its_own_is_asked_for_by_them(model: Model, volume: Volume) -> None:
    """Templates that say what the published prompts say give the same; a pair that is turned round gives the complement."""
    own = Finding(name="Cardiomegaly", prompts=("{abnormality} is present.", "{abnormality} is not present."))
    turned = Finding(name="no cardiomegaly", prompts=("Cardiomegaly is not present.", "Cardiomegaly is present."))
    findings = model.detect(volume, abnormalities=[own, turned, "Emphysema"])
    listed = dict(zip(ABNORMALITIES, model.detect(volume).probabilities, strict=True))
    expected = (listed["Cardiomegaly"], 1 - listed["Cardiomegaly"], listed["Emphysema"])
    assert findings.probabilities == pytest.approx(expected, abs=1e-6)
    assert findings.abnormalities == ("Cardiomegaly", "no cardiomegaly", "Emphysema")
    assert findings.prompts == (own.prompts, turned.prompts, None)
    (note,) = [warning for warning in findings.warnings if "calibrated" in warning]
    assert "Cardiomegaly, no cardiomegaly." in note


def test_a_calibration_is_of_listed_findings_alone(model_dir: Path, volume: Volume) -> None:
    """The same name with other prompts is another finding."""
    plain = load(model_dir)
    folder = plain.folder
    mending = LabelCalibration(slope=1.0, offset=2.0, rule_in_at=0.5, rule_out_at=0.4)
    calibration = Calibration(
        weights_sha256=folder.weights_sha256,
        prompts=folder.prompts,
        method="platt",
        coverage=0.9,
        fitted_on="nothing",
        mendings=dict.fromkeys(("Cardiomegaly", "Rib fracture"), mending),  # a name that is no label, in a calibration by hand
    )
    save_calibration(model_dir, calibration)
    own = Finding(name="Cardiomegaly", prompts=("Cardiomegaly is present.", "Cardiomegaly is not present."))
    raw = dict(zip(ABNORMALITIES, plain.detect(volume, calibrated=False).probabilities, strict=True))["Cardiomegaly"]
    for asked, probability in (("Cardiomegaly", mending.probability(raw)), (own, raw)):
        findings = load(model_dir).detect(volume, abnormalities=[asked, "Rib fracture"])
        assert findings.probabilities[0] == pytest.approx(probability, abs=1e-6)
        assert [verdict is None for verdict in findings.verdicts] == [asked is own, True]


@pytest.mark.parametrize("names", [[], ["Cardiomegaly", "Cardiomegaly"]])
def test_abnormalities_are_named_each_once(model: Model, volume: Volume, names: list[str]) -> None:
    with pytest.raises(InputError):
        model.detect(volume, abnormalities=names)


def test_lipro_needs_no_tokenizer_and_gives_the_sigmoid_of_its_classifier(shared_dir: Path, tmp_path: Path, volume: Volume) -> None:
    lipro = load(other_kind(shared_dir, tmp_path / "lipro", "ct-clip-classifier"))
    tensors = load_state_dict(lipro.folder)
    latent = lipro.encode_volume(volume).latent_BL[0]
    expected = (tensors["classifier.weight"] @ latent.relu() + tensors["classifier.bias"]).sigmoid()
    findings = lipro.detect(volume)
    assert findings.probabilities == pytest.approx(expected.tolist(), abs=1e-6)
    assert findings.model_kind == "ct-clip-classifier"
    one = lipro.detect(volume, abnormalities=["Emphysema"])
    assert one.probabilities == (findings.probabilities[ABNORMALITIES.index("Emphysema")],)
    with pytest.raises(InputError, match="Rib fracture"):
        lipro.detect(volume, abnormalities=["Rib fracture"])
    with pytest.raises(TokenizerMissing):
        lipro.encode_text(["words"])


def test_a_bare_ctvit_gives_tokens_only(shared_dir: Path, tmp_path: Path, model: Model, volume: Volume) -> None:
    ctvit = load(other_kind(shared_dir, tmp_path / "ctvit", "ctvit"))
    assert torch.equal(ctvit.encode_tokens(volume).tokens, model.encode_volume(volume).tokens)
    for asked in (
        lambda: ctvit.detect(volume, abnormalities=["Emphysema"]),
        lambda: ctvit.encode_volume(volume),
        lambda: ctvit.encode_text(["x"]),
        lambda: ctvit.similarity([volume], ["x"]),
        lambda: ctvit.temperature,
    ):
        with pytest.raises(CapabilityMissing, match="CTViT"):
            asked()


def test_a_model_without_volumes_says_what_it_is(shared_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(CapabilityMissing, match="report labeller"):
        load(other_kind(shared_dir, tmp_path / "labeller", "text-classifier"))


def test_without_a_tokenizer_it_says_what_to_fetch(model_dir: Path, volume: Volume) -> None:
    shutil.rmtree(model_dir / "tokenizer")
    with pytest.raises(TokenizerMissing, match="CXR-BERT"):
        load(model_dir).detect(volume)


def test_another_models_tokenizer_is_found_out(model_dir: Path, tmp_path: Path, volume: Volume) -> None:
    folder = open_model(model_dir)
    big = Tokenizer.from_words([f"word{i}" for i in range(600)])
    save_model(
        tmp_path / "big",
        kind="ct-clip",
        config=folder.config,
        preprocess=folder.preprocess,
        labels=folder.labels,
        tensors=load_state_dict(folder),
        tokenizer=big,
        licence="none",
        trained=False,
    )
    with pytest.raises(TokenizerMissing, match="another model"):
        load(tmp_path / "big").detect(volume)


def test_weights_that_are_not_those_of_the_hash_are_refused(model_dir: Path) -> None:
    """Else findings, and the latents kept beside the model, would carry another model's name."""
    weights = model_dir / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ModelFolderInvalid):
        load(model_dir)


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "", "meta", "cuda:x"])
def test_a_device_that_is_not_there_is_refused(model_dir: Path, device: str) -> None:
    with pytest.raises(InputError, match="device"):
        load(model_dir, device=device)


def test_a_precision_that_is_not_there_is_refused(model_dir: Path) -> None:
    with pytest.raises(InputError, match="bf16"):
        load(model_dir, dtype="float16")


def test_lower_precision_says_what_it_changes(shared_dir: Path, model: Model, volume: Volume) -> None:
    lowered = load(shared_dir, dtype="bf16")
    effect = lowered.check_precision(volume)
    exact, other = model.encode_volume(volume), lowered.encode_volume(volume)
    assert effect.equal_codes == pytest.approx((exact.codebook_indices == other.codebook_indices).double().mean().item())
    assert effect.latent_cosine == pytest.approx((exact.latent_BL * other.latent_BL).sum().item(), abs=1e-6)
    assert 0.5 < effect.equal_codes <= 1
    assert not torch.equal(exact.latent_BL, other.latent_BL)
    assert lowered.detect(volume).precision == "bf16"
    assert other.latent_BL.dtype == torch.float32
    same = model.check_precision(volume)
    assert (same.equal_codes, same.latent_cosine) == (1, pytest.approx(1))


def test_a_model_leaves_the_seed_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    write_model(tmp_path / "model")
    assert torch.equal(torch.rand(3), expected)


def test_the_golden_model_says_what_the_published_code_says(golden_dir: Path, tmp_path: Path) -> None:
    """From checkpoint to probabilities through the folder, with the published prompts' ids as latents' source."""
    published = golden_dir / "published"
    values = json.loads((published / "ctclip_config.json").read_text())
    state = torch.load(published / "ctclip_checkpoint.pt", weights_only=True)
    state.pop("text_transformer.embeddings.position_ids", None)
    config = published_ctclip_config(values)
    with torch.device("meta"):
        known = CTCLIP(config).state_dict()
    save_model(
        tmp_path / "golden",
        kind="ct-clip",
        config=config,
        preprocess=PreprocessConfig(size=(config.n_frames, config.ctvit.image_size, config.ctvit.image_size)),
        labels=ABNORMALITIES,
        tensors={name: state[name] for name in known},
        tokenizer=None,
        licence="golden",
        trained=False,
    )
    expected = load_file(published / "ctclip_expected.safetensors")
    model = load(tmp_path / "golden")
    for row, volume in enumerate(expected["volume"]):
        encoding = model.encode_volume(volume[0])
        assert torch.allclose(encoding.latent_BL[0], expected["image_latents"][row], atol=1e-5)
        assert torch.equal(encoding.codebook_indices[0], expected["codebook_indices"][row].flatten().long())
