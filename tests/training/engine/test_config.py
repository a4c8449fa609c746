"""Configurations: those that ship, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from thoracle.errors import InputError
from thoracle.models.ctchat.config import ProjectorConfig
from thoracle.models.ctclip.config import CTCLIPConfig
from thoracle.models.medfinder.config import MedFinderConfig, ResNetConfig
from thoracle.training.chat.task import ChatConfig
from thoracle.training.contrastive.ctclip import ContrastiveConfig
from thoracle.training.contrastive.medfinder import MedFinderRunConfig
from thoracle.training.engine.config import RunConfig, changed_fields, load_config, load_run_config, write_config
from thoracle.training.finetuning.config import ClassifierConfig
from thoracle.training.finetuning.distillation import DistillationConfig
from thoracle.training.finetuning.vocabfine import VocabFineConfig
from thoracle.training.labeler.task import LabelerConfig

CONFIGS = Path(__file__).parents[3] / "configs"
#: Every configuration that ships, and what it is of.
SHIPPED: dict[str, type[RunConfig]] = {
    "classifier": ClassifierConfig,
    "ct-clip": ContrastiveConfig,
    "ct-clip-fast": ContrastiveConfig,
    "ct-clip-small-gpu": ContrastiveConfig,
    "labeler": LabelerConfig,
    "labeler-tiny": LabelerConfig,
    "medfinder-bimcv-r": MedFinderRunConfig,
    "phantom-medfinder": MedFinderRunConfig,
    "phantom-tiny": ContrastiveConfig,
    "phantom-tiny-classifier": ClassifierConfig,
    "phantom-tiny-labeler": LabelerConfig,
    "phantom-tiny-labels": ClassifierConfig,
    "phantom-tiny-supervised": ClassifierConfig,
    "ct-chat": ChatConfig,
    "ct-chat-lora": ChatConfig,
    "phantom-chat": ChatConfig,
    "phantom-tiny-student": DistillationConfig,
    "phantom-tiny-vocabfine": VocabFineConfig,
    "vocabfine": VocabFineConfig,
}


def test_these_configurations_ship() -> None:
    assert sorted(path.stem for path in CONFIGS.glob("*.yaml")) == sorted(SHIPPED)


@pytest.mark.parametrize(("name", "kind"), SHIPPED.items())
def test_each_is_read_and_written_back_alike(name: str, kind: type[RunConfig], tmp_path: Path) -> None:
    config = load_config(CONFIGS / f"{name}.yaml", kind)
    write_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml", kind) == load_run_config(tmp_path / "config.yaml", kind) == config


def test_one_that_ships_is_known_by_its_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_config(Path("ct-clip"), ContrastiveConfig) == load_config(CONFIGS / "ct-clip.yaml", ContrastiveConfig)
    with pytest.raises(InputError, match="is not a configuration file"):
        load_config(Path("ct-clap"), ContrastiveConfig)


def test_the_supervised_opponent_has_the_demos_encoder_rate_and_as_many_volumes() -> None:
    contrastive = load_config(CONFIGS / "phantom-tiny.yaml", ContrastiveConfig)
    vocabfine = load_config(CONFIGS / "phantom-tiny-vocabfine.yaml", VocabFineConfig)
    supervised = load_config(CONFIGS / "phantom-tiny-supervised.yaml", ClassifierConfig)
    assert (supervised.model, supervised.init_from, supervised.encoder) == (contrastive.model, "", "full")
    stages = (contrastive, vocabfine)
    assert supervised.steps * supervised.batch_size == sum(config.steps * config.batch_size for config in stages) == 19_200
    assert {supervised.optimizer.lr} == {config.optimizer.lr for config in stages}
    assert supervised.disclaimer == contrastive.disclaimer


@pytest.mark.parametrize(("name", "published"), [("ct-chat", ("projector", 1e-3, 3, 4)), ("ct-chat-lora", ("lora", 2e-5, 3, 12))])
def test_ct_chat_has_the_published_hyperparameters(name: str, published: tuple[str, float, int, int]) -> None:
    config = load_config(CONFIGS / f"{name}.yaml", ChatConfig)
    assert (config.stage, config.optimizer.lr, config.batch_size, config.gradient_accumulation_steps) == published
    assert (config.adapter.rank, config.adapter.alpha) == (128, 256)
    assert config.projector.complete(dim_context=512, hidden_size=4096) == ProjectorConfig()


def test_ct_clip_has_the_published_hyperparameters() -> None:
    config = load_config(CONFIGS / "ct-clip.yaml", ContrastiveConfig)
    assert config.model == CTCLIPConfig()
    assert (config.batch_size, config.steps, config.init_log_logit_scale, config.max_text_tokens) == (8, 100_001, 1.0, 512)
    assert (config.negatives, config.codebook_sync) == ("local", False)
    assert (config.gradient_accumulation_steps, config.gradient_cache_chunk) == (1, 0)
    optimizer = config.optimizer
    assert (optimizer.lr, optimizer.betas, optimizer.weight_decay, optimizer.max_grad_norm) == (1.25e-6, (0.9, 0.99), 0.0, 0.5)


def test_the_published_text_encoder_has_the_dropout_of_its_config_json() -> None:
    """https://huggingface.co/microsoft/BiomedVLP-CXR-BERT-specialized/blob/main/config.json."""
    bert = CTCLIPConfig().bert
    assert (bert.hidden_dropout_prob, bert.attention_probs_dropout_prob) == (0.25, 0.25)


@pytest.mark.parametrize(
    ("name", "kind", "batch", "clip", "epochs"), [("vocabfine", VocabFineConfig, 1, 1e9, 10), ("classifier", ClassifierConfig, 8, 1.0, 10)]
)
def test_fine_tuning_has_the_published_batch_and_clip(name: str, kind: type[RunConfig], batch: int, clip: float, epochs: int) -> None:
    """As scripts/ct_vocabfine_train.py, which does not clip, and scripts/ct_lipro_train.py of CT-CLIP have them."""
    config = load_config(CONFIGS / f"{name}.yaml", kind)
    assert (config.batch_size, config.optimizer.max_grad_norm) == (batch, clip)
    assert (config.steps, config.epochs) == (0, epochs)
    optimizer = config.optimizer
    assert (optimizer.lr, optimizer.betas, optimizer.weight_decay, optimizer.warmup_steps, optimizer.schedule) == (
        1e-5, (0.9, 0.999), 0.1, 10_000, "cosine",
    )  # fmt: skip
    assert isinstance(config, ClassifierConfig) or config.loss == "squared"


def test_medfinder_has_the_published_hyperparameters() -> None:
    config = load_config(CONFIGS / "medfinder-bimcv-r.yaml", MedFinderRunConfig)
    assert config.model == MedFinderConfig(resnet=ResNetConfig())
    assert (config.views, config.crop_words, config.contrastive_weight, config.batch_size, config.freeze_text_encoder) == (
        2,
        100,
        1.0,
        4,
        True,
    )
    assert (config.seed, config.steps, config.epochs) == (42, 0, 20)
    changes = config.augmentation
    assert (changes.probability, changes.rotation, changes.zoom, changes.shift, changes.noise) == (0.3, 0.2, 0.1, 0.0, 0.2)
    assert (config.optimizer.lr, config.optimizer.schedule) == (1e-4, "cosine")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("views: 3", "views must be a whole number at least 1 and at most 2, is 3"),
        ("views: two", "views must be a whole number"),
        ("contrastive_weight: 0", "contrastive_weight must be a number above 0"),
        ("freeze_text_encoder: true", "would stay random"),
        ("model: {resnet: {}, vit: {}}", "one of resnet and vit"),
        ("model: {resnet: {}, size: [48, 112, 112]}", "the model takes"),
        ("augmentation: {turn: 1}", "unknown augmentation.turn"),
        ("loss: sigmoid", "unknown loss"),
    ],
)
def test_a_medfinder_that_makes_no_sense_is_refused(text: str, said: str, tmp_path: Path) -> None:
    sizes = "" if "size" in text else "preprocess: {size: [96, 224, 224]}\n"
    frozen = "" if "freeze_text_encoder" in text else "freeze_text_encoder: false\n"
    (tmp_path / "config.yaml").write_text(sizes + frozen + text)
    with pytest.raises(InputError, match=said):
        load_config(tmp_path / "config.yaml", MedFinderRunConfig)


def test_ct_clip_fast_is_what_the_page_recommends() -> None:
    config = load_config(CONFIGS / "ct-clip-fast.yaml", ContrastiveConfig)
    assert config.model == CTCLIPConfig()
    assert (config.precision, config.negatives, config.codebook_sync) == ("bf16", "global", True)
    assert 0 < config.gradient_cache_chunk < config.batch_size


def test_small_gpu_has_larger_patches() -> None:
    small = load_config(CONFIGS / "ct-clip-small-gpu.yaml", ContrastiveConfig).model.ctvit
    assert (small.patch_size, small.temporal_patch_size) > (20, 10)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("step: 10", "unknown step; known are .* Did you mean steps"),
        ("steps: '10'", "steps must be a whole number at least 0, is '10'"),
        ("steps: -1", "steps must be a whole number at least 0, is -1"),
        ("steps: 0", r"config\.yaml: neither steps nor epochs is given\. Give one of them\."),
        ("steps: 10\nepochs: 2", r"both steps, 10, and epochs, 2, are given\. Set one of them to 0\."),
        ("precision: fp8", "precision must be float32 or bf16 or float16"),
        ("batch_size: 8\ngradient_cache_chunk: 3", "gradient_cache_chunk 3 does not divide batch_size 8"),
        ("gradient_accumulation_steps: 2", "do not see each other"),
        ("optimizer: 3", "optimizer must hold settings"),
        ("optimizer: {betas: [0.9]}", "optimizer.betas must be a list of 2"),
        ("optimizer: {lr: .nan}", "optimizer.lr must be a number"),
        ("model: {ctvit: {image_size: 481}}", "model.ctvit: image_size 481 is not a multiple"),
        ("format: thoracle.training/1", "begun by another version"),
        ("loss: sigmoid\nmodel: {decoupled_loss: true}", "belong to the softmax loss"),
        ("model: {n_frames: 60}", "the model takes"),
        ("- a list", "holds no settings"),
        ("a: [", "is not YAML"),
        ("optimizer: {lr: 1.0e-4}\nsteps: 9\noptimizer: {lr: 1.0e-3}", "is not YAML .'optimizer' stands twice"),
        ("a: !!python/object/apply:os.system [true]", "is not YAML"),
    ],
)
def test_what_makes_no_sense_is_refused(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(InputError, match=said):
        load_config(tmp_path / "config.yaml", ContrastiveConfig)


def test_a_run_of_another_version_is_not_resumed(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("optimiser: {lr: 1.0e-4}")
    with pytest.raises(InputError, match=r"thoracle\.training/2.*`thoracle train` and another --out"):
        load_run_config(tmp_path / "config.yaml", ContrastiveConfig)


def test_the_command_line_goes_before_the_file() -> None:
    config = load_config(Path("ct-clip"), ContrastiveConfig, overrides=["optimizer.lr=1e-4", "seed=3"])
    shipped = load_config(Path("ct-clip"), ContrastiveConfig)
    assert config == replace(shipped, seed=3, optimizer=replace(shipped.optimizer, lr=1e-4))


def test_a_section_that_the_file_lacks_begins_as_the_tasks_own(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("steps: 3")
    config = load_config(tmp_path / "config.yaml", LabelerConfig, overrides=["optimizer.weight_decay=0.1"])
    assert config.optimizer == replace(LabelerConfig().optimizer, weight_decay=0.1)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("optimizer.lr=-1", r"^--set: optimizer\.lr must be a number above 0"),
        ("model.ctvit.image_size=481", r"ct-clip\.yaml with --set: model\.ctvit: image_size 481"),
        ("steps.much=1", "^--set: steps holds no settings"),
        ("steps", "^--set: 'steps' is no setting"),
        ("step=1", "^--set: unknown step; .* Did you mean steps"),
        ("steps=[", "^--set: steps is no YAML"),
    ],
)
def test_an_override_that_makes_no_sense_is_named(override: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_config(Path("ct-clip"), ContrastiveConfig, overrides=["seed=1", override])


def test_folders_may_move_between_a_run_and_its_resumption() -> None:
    config = ContrastiveConfig()
    assert changed_fields(config, replace(config, out="elsewhere", cohort="elsewhere")) == []
    assert changed_fields(config, replace(config, seed=1, out="elsewhere")) == ["seed"]
