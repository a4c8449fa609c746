"""Configurations: those that ship, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from thoracle.errors import InputError
from thoracle.models.ctclip_config import CTCLIPConfig
from thoracle.models.medfinder_config import MedFinderConfig, ResNetConfig
from thoracle.models.projector_config import ProjectorConfig
from thoracle.training.chat import ChatConfig
from thoracle.training.classifier import ClassifierConfig
from thoracle.training.config import RunConfig, differences, read_config, write_config
from thoracle.training.contrastive import ContrastiveConfig
from thoracle.training.labeler import LabelerConfig
from thoracle.training.medfinder import MedFinderRunConfig
from thoracle.training.vocabfine import VocabFineConfig

CONFIGS = Path(__file__).parents[2] / "configs"
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
    "ct-chat": ChatConfig,
    "ct-chat-lora": ChatConfig,
    "phantom-chat": ChatConfig,
    "phantom-tiny-vocabfine": VocabFineConfig,
}


def test_these_configurations_ship() -> None:
    assert sorted(path.stem for path in CONFIGS.glob("*.yaml")) == sorted(SHIPPED)


@pytest.mark.parametrize(("name", "kind"), SHIPPED.items())
def test_each_is_read_and_written_back_alike(name: str, kind: type[RunConfig], tmp_path: Path) -> None:
    config = read_config(CONFIGS / f"{name}.yaml", kind)
    write_config(config, tmp_path / "config.yaml")
    assert read_config(tmp_path / "config.yaml", kind) == config


def test_one_that_ships_is_known_by_its_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_config(Path("ct-clip"), ContrastiveConfig) == read_config(CONFIGS / "ct-clip.yaml", ContrastiveConfig)
    with pytest.raises(InputError, match="is not a configuration file"):
        read_config(Path("ct-clap"), ContrastiveConfig)


@pytest.mark.parametrize(("name", "published"), [("ct-chat", ("projector", 1e-3, 12, 1)), ("ct-chat-lora", ("lora", 2e-5, 3, 12))])
def test_ct_chat_has_the_published_hyperparameters(name: str, published: tuple[str, float, int, int]) -> None:
    config = read_config(CONFIGS / f"{name}.yaml", ChatConfig)
    assert (config.stage, config.optimiser.lr, config.batch, config.accumulate) == published
    assert (config.adapter.rank, config.adapter.alpha, config.projector) == (128, 256, ProjectorConfig())


def test_ct_clip_has_the_published_hyperparameters() -> None:
    config = read_config(CONFIGS / "ct-clip.yaml", ContrastiveConfig)
    assert config.model == CTCLIPConfig()
    assert (config.batch, config.steps, config.temperature, config.text_length) == (8, 100_001, 1.0, 512)
    assert (config.negatives, config.codebook, config.accumulate, config.chunk) == ("rank", "rank", 1, 0)
    optimiser = config.optimiser
    assert (optimiser.lr, optimiser.betas, optimiser.weight_decay, optimiser.clip) == (1.25e-6, (0.9, 0.99), 0.0, 0.5)


def test_medfinder_has_the_published_hyperparameters() -> None:
    config = read_config(CONFIGS / "medfinder-bimcv-r.yaml", MedFinderRunConfig)
    assert config.model == MedFinderConfig(resnet=ResNetConfig())
    assert (config.views, config.excerpt, config.alpha, config.batch, config.freeze_text) == (2, 100, 1.0, 4, True)
    changes = config.augmentation
    assert (changes.probability, changes.rotation, changes.zoom, changes.shift, changes.noise) == (0.3, 0.2, 0.1, 0.0, 0.2)
    assert (config.optimiser.lr, config.optimiser.cosine) == (1e-4, True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("views: 3", "views must be 1 or 2"),
        ("views: two", "views must be of type int"),
        ("alpha: 0", "alpha positive"),
        ("freeze_text: true", "would stay random"),
        ("model: {resnet: {}, vit: {}}", "one of resnet and vit"),
        ("model: {resnet: {}, size: [48, 112, 112]}", "the model takes"),
        ("augmentation: {turn: 1}", "unknown turn"),
        ("loss: sigmoid", "unknown loss"),
    ],
)
def test_a_medfinder_that_makes_no_sense_is_refused(text: str, said: str, tmp_path: Path) -> None:
    sizes = "" if "size" in text else "preprocess: {size: [96, 224, 224]}\n"
    frozen = "" if "freeze_text" in text else "freeze_text: false\n"
    (tmp_path / "config.yaml").write_text(sizes + frozen + text)
    with pytest.raises(InputError, match=said):
        read_config(tmp_path / "config.yaml", MedFinderRunConfig)


def test_ct_clip_fast_is_what_the_page_recommends() -> None:
    config = read_config(CONFIGS / "ct-clip-fast.yaml", ContrastiveConfig)
    assert config.model == CTCLIPConfig()
    assert (config.precision, config.negatives, config.codebook) == ("bf16", "global", "global")
    assert 0 < config.chunk < config.batch


def test_small_gpu_has_larger_patches() -> None:
    small = read_config(CONFIGS / "ct-clip-small-gpu.yaml", ContrastiveConfig).model.ctvit
    assert (small.patch_size, small.temporal_patch_size) > (20, 10)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("step: 10", "unknown step; known are"),
        ("steps: '10'", "steps must be of type int"),
        ("steps: 0", "must be positive"),
        ("precision: fp8", "float32 or bf16"),
        ("batch: 8\nchunk: 3", "chunk divide batch"),
        ("accumulate: 2", "do not see each other"),
        ("optimiser: 3", "optimiser must hold settings"),
        ("optimiser: {betas: [0.9]}", "two numbers"),
        ("loss: sigmoid\nmodel: {decoupled_loss: true}", "belong to the softmax loss"),
        ("model: {n_frames: 60}", "the model takes"),
        ("- a list", "holds no settings"),
        ("a: [", "is not YAML"),
        ("a: !!python/object/apply:os.system [true]", "is not YAML"),
    ],
)
def test_what_makes_no_sense_is_refused(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(InputError, match=said):
        read_config(tmp_path / "config.yaml", ContrastiveConfig)


def test_folders_may_move_between_a_run_and_its_resumption() -> None:
    config = ContrastiveConfig()
    assert differences(config, replace(config, out="elsewhere", cohort="elsewhere")) == []
    assert differences(config, replace(config, seed=1, out="elsewhere")) == ["seed"]
