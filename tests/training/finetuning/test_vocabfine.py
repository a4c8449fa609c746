"""VocabFine: it learns labels as prompts, two ranks see what one sees, and a run resumes to the bit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F

from thoracle.cohort.samples.dataset import Sample
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.errors import InputError
from thoracle.inference.model import load
from thoracle.models.bundle.model_folder import load_state_dict, open_model, save_model
from thoracle.models.common.losses import logit_scale
from thoracle.models.common.prompts import format_prompts
from thoracle.models.ctclip.model import CTCLIP
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.training.engine.config import OptimizerConfig
from thoracle.training.engine.distributed import World
from thoracle.training.engine.progress import TrainStep
from thoracle.training.finetuning.vocabfine import VocabFineConfig, VocabFineTask, collate_labelled
from thoracle.training.finetuning.vocabfine_run import vocabfine_run
from thoracle.types import ABNORMALITIES

ALONE = World(rank=0, size=1, device=torch.device("cpu"))
PREPROCESS = PreprocessConfig(size=(20, 40, 40))


class Volumes:
    """Eight volumes; where there is an abnormality, a slice of its own is bright."""

    def __len__(self) -> int:
        return 8

    def set_epoch(self, epoch: int) -> None:
        pass

    def __getitem__(self, index: int) -> Sample:
        generator = torch.Generator().manual_seed(index)
        labels = (torch.rand(18, generator=generator) < 0.4).float()
        volume = torch.randn(1, 20, 40, 40, generator=generator) * 0.1
        for number in labels.nonzero().flatten().tolist():
            volume[0, number, : 4 + number, 20:] += 1
        return Sample(volume_1ZHW=volume, report="", labels=labels, volume=f"v{index}", scan=str(index), patient=str(index))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """As in the trainer's tests: bits depend on the number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def start(steps: ModuleType, tmp_path: Path) -> Path:
    """A random CT-CLIP whose words are the prompts'."""
    torch.manual_seed(0)
    model = replace(steps.MODEL, bert=replace(steps.MODEL.bert, vocab_size=512))
    tokenizer = Tokenizer.from_words(format_prompts())
    facts = {"licence": "", "trained": False, "caution": "Knows only noise."}
    save_model(
        tmp_path / "start",
        kind="ct-clip",
        config=model,
        preprocess=PREPROCESS,
        labels=ABNORMALITIES,
        tensors=CTCLIP(model).state_dict(),
        tokenizer=tokenizer,
        **facts,
    )
    return tmp_path / "start"


def config(start: Path, out: Path, **more: object) -> VocabFineConfig:
    optimizer = OptimizerConfig(lr=1e-2, max_grad_norm=1.0, warmup_steps=2)
    told = {"steps": 6, "batch_size": 4, "num_workers": 0, "save_every": 1, "optimizer": optimizer, **more}
    return VocabFineConfig(init_from=str(start), out=str(out), **told)


def train(told: VocabFineConfig, *, until: int | None = None, resume: bool = False) -> list[TrainStep]:
    done = []
    for progress in vocabfine_run(told, Volumes(), ALONE, preprocess=PREPROCESS, resume=resume).run():
        done.append(progress)
        if progress.step == until:
            break
    return done


def test_it_learns_labels_it_was_shown_and_keeps_its_words_and_its_caution(start: Path, tmp_path: Path) -> None:
    losses = [one.loss for one in train(config(start, tmp_path / "run", steps=150, save_every=150))]
    assert losses[-1] < 0.65 * losses[0]
    model = load(tmp_path / "run" / "model")
    sample = Volumes()[0]
    findings = model.detect(sample.volume_1ZHW[0])
    right = [(p > 0.5) == bool(label) for p, label in zip(findings.probabilities, sample.labels.tolist(), strict=True)]
    assert sum(right) >= 14
    assert findings.warnings == ("Knows only noise.",)
    assert len(model.detect(sample.volume_1ZHW[0], abnormalities=["Hernia"]).probabilities) == 1


@pytest.mark.parametrize("squared", [False, True])
def test_its_loss_is_the_mean_over_known_labels_of_each_pairs_softmax(squared: bool, start: Path, tmp_path: Path) -> None:
    told = config(start, tmp_path, loss="squared" if squared else "cross-entropy")
    folder = open_model(start)
    clip = CTCLIP(folder.config)
    clip.load_state_dict(load_state_dict(folder))
    task = VocabFineTask(clip, told, ALONE, tokenizer=folder.tokenizer(), preprocess=PREPROCESS, templates=folder.prompts)
    batch = collate_labelled([Volumes()[index] for index in range(3)])
    batch.labels_BK[1, 4] = torch.nan
    texts = folder.tokenizer().encode(format_prompts())
    text, image = task.encode(texts.input_ids_BN, texts.attention_mask_BN, batch.volume_B1ZHW)
    errors = []
    for volume in range(3):
        for number in range(18):
            label = batch.labels_BK[volume, number]
            if label.isnan():
                continue
            order = [0, 1] if label else [1, 0]  # the prompt that agrees comes first, as published
            pair = torch.stack([logit_scale(clip.temperature) * image[volume] @ text[2 * number + which] for which in order]).softmax(0)
            target = torch.tensor([1.0, 0.0])
            errors.append(F.mse_loss(pair, target) if squared else -pair[0].log())
    assert len(errors) == 3 * 18 - 1
    assert task.accumulate_gradients([batch]) == pytest.approx(torch.stack(errors).mean().item(), rel=1e-5)


def test_stopped_and_resumed_the_weights_are_bit_equal(start: Path, tmp_path: Path) -> None:
    train(config(start, tmp_path / "whole"))
    train(config(start, tmp_path / "parts"), until=3)
    train(config(start, tmp_path / "parts"), resume=True)
    whole, parts = (load_state_dict(open_model(tmp_path / name / "model")) for name in ("whole", "parts"))
    assert all(torch.equal(tensor, parts[name]) for name, tensor in whole.items())


def test_volumes_of_another_preprocessing_are_refused(start: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="another preprocessing"):
        vocabfine_run(config(start, tmp_path / "run"), Volumes(), ALONE, preprocess=PreprocessConfig(size=(20, 40, 60)))
