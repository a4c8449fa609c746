"""VocabFine's run: it learns labels as prompts, resumes to the bit, and goes on from a CT-CLIP of the same volumes alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.training import steps
from tests.training.vocabfine_start import PREPROCESS, Volumes, config, write_start
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.errors import InputError
from thoracle.inference.export.quantized import export_quantized
from thoracle.inference.model import load
from thoracle.models.bundle.model_folder import load_state_dict, open_model, save_model
from thoracle.models.citations import CT_CLIP
from thoracle.models.common.prompts import format_prompts
from thoracle.models.ctclip.model import CTCLIP
from thoracle.models.medfinder.model import MedFinder
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.training.engine.distributed import World
from thoracle.training.engine.progress import TrainStep
from thoracle.training.finetuning.vocabfine import VocabFineConfig
from thoracle.training.finetuning.vocabfine_run import vocabfine_run
from thoracle.types import ABNORMALITIES

ALONE = World(rank=0, size=1, device=torch.device("cpu"))


@pytest.fixture
def start(tmp_path: Path) -> Path:
    return write_start(tmp_path / "start")


def train(config_: VocabFineConfig, *, until: int | None = None, resume: bool = False) -> list[TrainStep]:
    progressed = []
    for progress in vocabfine_run(config_, Volumes(), ALONE, preprocess=PREPROCESS, resume=resume).run():
        progressed.append(progress)
        if progress.step == until:
            break
    return progressed


def test_it_learns_labels_it_was_shown_and_keeps_its_words_and_its_caution(start: Path, tmp_path: Path) -> None:
    losses = [step.loss for step in train(config(start, tmp_path / "run", steps=150, save_every=150))]
    assert losses[-1] < 0.65 * losses[0]
    model = load(tmp_path / "run" / "model")
    sample = Volumes()[0]
    findings = model.detect(sample.read_volume()[0])
    right = [(p > 0.5) == bool(label) for p, label in zip(findings.probabilities, sample.labels.tolist(), strict=True)]
    assert sum(right) >= 14
    assert findings.warnings == ("Knows only noise.",)
    small = export_quantized(model, tmp_path / "small", "bf16", summary="rounded")
    for folder in (model.folder, small):  # from an imported file to its export
        assert folder.licence == "Theirs alone; and that of the data it was trained on"
        assert folder.citations == (CT_CLIP,)
    assert model.settings()["licence"] == model.folder.licence
    assert len(model.detect(sample.read_volume()[0], abnormalities=["Hernia"]).probabilities) == 1


def test_stopped_and_resumed_the_weights_are_bit_equal(start: Path, tmp_path: Path) -> None:
    train(config(start, tmp_path / "whole"))
    train(config(start, tmp_path / "parts"), until=3)
    train(config(start, tmp_path / "parts"), resume=True)
    whole, parts = (load_state_dict(open_model(tmp_path / name / "model")) for name in ("whole", "parts"))
    assert all(torch.equal(tensor, parts[name]) for name, tensor in whole.items())


def test_volumes_of_another_preprocessing_are_refused(start: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="another preprocessing"):
        vocabfine_run(config(start, tmp_path / "run"), Volumes(), ALONE, preprocess=PreprocessConfig(size=(20, 40, 60)))


def test_a_model_that_is_no_ct_clip_is_refused(start: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    facts = {"labels": ABNORMALITIES, "licence": "", "trained": True, "preprocess": PREPROCESS}
    network, words = MedFinder(steps.FINDER.model), Tokenizer.from_words(["effusion"])
    save_model(tmp_path / "finder", kind="medfinder", config=steps.FINDER.model, tensors=network.state_dict(), tokenizer=words, **facts)
    with pytest.raises(InputError, match="is no CT-CLIP, which VocabFine goes on from"):
        vocabfine_run(config(tmp_path / "finder", tmp_path / "run"), Volumes(), ALONE, preprocess=PREPROCESS)
    assert not (tmp_path / "run").exists()


def test_it_begins_with_the_starts_weights_words_and_prompts_and_its_own_disclaimer(start: Path, tmp_path: Path) -> None:
    run = vocabfine_run(config(start, tmp_path / "run", steps=1, disclaimer="Ours."), Volumes(), ALONE, preprocess=PREPROCESS)
    folder = open_model(start)
    weights = load_state_dict(folder)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in run.task.network.state_dict().items())
    prompts = folder.tokenizer().encode(format_prompts())
    assert torch.equal(run.task._prompts.input_ids_BN, prompts.input_ids_BN)
    list(run.run())
    trained = open_model(tmp_path / "run" / "model")
    assert trained.disclaimer == "Ours."
    assert trained.tokenizer().fingerprint == folder.tokenizer().fingerprint
    assert not torch.equal(load_state_dict(trained)["to_text_latent.weight"], weights["to_text_latent.weight"])


def test_an_evaluation_is_made_of_the_task(start: Path, tmp_path: Path) -> None:
    run = vocabfine_run(
        config(start, tmp_path / "run", steps=2, eval_every=2),
        Volumes(),
        ALONE,
        preprocess=PREPROCESS,
        evaluate=lambda task: lambda: {"macro_auroc": float(isinstance(task.clip, CTCLIP))},
    )
    assert [step.scores for step in run.run()] == [{}, {"macro_auroc": 1.0}]
