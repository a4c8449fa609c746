"""A labeler's run: which reports are trained on, what it begins with, and a folder that resumes to the bit and knows its words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from thoracle.errors import InputError
from thoracle.models.bundle.model_folder import load_state_dict, open_model, save_model
from thoracle.models.citations import CT_CLIP
from thoracle.models.text.classifier import TextClassifier
from thoracle.models.text.config import TextConfig
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.training.engine.config import OptimizerConfig
from thoracle.training.engine.distributed import World
from thoracle.training.labeler.run import labeler_run
from thoracle.training.labeler.task import LabelerConfig, LabelledReportText
from thoracle.types import ABNORMALITIES

ALONE = World(rank=0, size=1, device=torch.device("cpu"))
SIZES = TextConfig(vocab_size=300, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
#: Of each abnormality two texts, each with a word of its own.
REPORTS = [
    LabelledReportText(name=f"r{number}{word}", text=text, labels=tuple(int(word == "" and k == number) for k in range(18)))
    for number, name in enumerate(ABNORMALITIES)
    for word, text in (("", f"There is {name.lower()} y{number}."), ("no", f"No {name.lower()} n{number}."))
]

TRAINING, VALIDATION = REPORTS[::2] + REPORTS[1:18:2], REPORTS[19::2]


@pytest.fixture
def config(tmp_path: Path) -> LabelerConfig:
    optimizer = OptimizerConfig(lr=1e-2, max_grad_norm=1.0)
    return LabelerConfig(
        out=str(tmp_path / "run"), model=SIZES, steps=4, batch_size=8, save_every=1, eval_every=2, num_workers=0, optimizer=optimizer
    )


def test_reports_that_are_validated_on_are_neither_trained_on_nor_give_words(config: LabelerConfig) -> None:
    run = labeler_run(config, TRAINING, ALONE, validation=VALIDATION)
    assert [run._data[index] for index in range(len(run._data))] == TRAINING
    words = Tokenizer.from_words([report.text for report in TRAINING])
    assert Tokenizer.from_folder(Path(config.out) / "tokenizer").fingerprint == words.fingerprint
    assert words.fingerprint != Tokenizer.from_words([report.text for report in REPORTS]).fingerprint
    progress = list(run.run())
    stated = {name for number, name in enumerate(ABNORMALITIES) if any(report.labels[number] for report in VALIDATION)}
    assert [set(step.scores) for step in progress] == [set(), stated | {"macro_f1"}] * 2


@pytest.mark.parametrize("repeats", [1, 3])
def test_prompts_are_trained_on_as_often_as_configured(repeats: int, config: LabelerConfig) -> None:
    run = labeler_run(replace(config, prompt_repeats=repeats), TRAINING, ALONE, validation=VALIDATION)
    texts = [run._data[index].text for index in range(len(run._data))]
    assert len(texts) == len(TRAINING) + repeats * 2 * len(ABNORMALITIES)
    assert texts.count("Pleural effusion is present.") == texts.count("Pleural effusion is not present.") == repeats


def test_it_learns_what_it_reads_and_resumes_to_the_bit(config: LabelerConfig, tmp_path: Path) -> None:
    whole = [step.loss for step in labeler_run(replace(config, steps=30, save_every=10), TRAINING, ALONE, validation=VALIDATION).run()]
    assert sum(whole[-5:]) < 0.5 * sum(whole[:5])
    again = replace(config, steps=30, save_every=10, out=str(tmp_path / "again"))
    losses = []
    for step in labeler_run(again, TRAINING, ALONE, validation=VALIDATION).run():
        losses.append(step.loss)
        if step.step == 10:
            break
    torch.manual_seed(98)
    losses += [step.loss for step in labeler_run(again, TRAINING, ALONE, validation=VALIDATION, resume=True).run()]
    assert losses == whole
    folders = [load_state_dict(open_model(Path(out) / "model", verify=True)) for out in (config.out, again.out)]
    assert all(torch.equal(tensor, folders[1][name]) for name, tensor in folders[0].items())


def test_reports_are_cut_to_what_the_encoder_reads(config: LabelerConfig) -> None:
    long = replace(REPORTS[0], text="effusion " * 100)
    for tokens, positions, expected in ((20, 512, 20), (50, 30, 30)):
        sizes = replace(SIZES, max_position_embeddings=positions)
        out = f"{config.out}-{tokens}"
        run = labeler_run(replace(config, out=out, model=sizes, max_text_tokens=tokens), TRAINING, ALONE, validation=VALIDATION)
        assert run._collate([long]).input_ids_BN.shape == (1, expected)


def test_a_classifier_is_gone_on_from_with_its_sizes_its_words_and_its_terms(config: LabelerConfig, tmp_path: Path) -> None:
    torch.manual_seed(1)
    sizes = replace(SIZES, hidden_size=8)
    network, words = TextClassifier(sizes, n_labels=len(ABNORMALITIES)), Tokenizer.from_words(["A nodule is seen."])
    save_model(
        tmp_path / "start", kind="text-classifier", config=sizes, preprocess=None, labels=ABNORMALITIES,
        tensors=network.state_dict(), tokenizer=words, licence="Theirs alone", citations=["Somebody 2026"],
        trained=True, caution="Knows only noise.",
    )  # fmt: skip
    config = replace(config, steps=1, eval_every=0, init_from=str(tmp_path / "start"))
    run = labeler_run(config, TRAINING, ALONE, validation=VALIDATION)
    assert all(torch.equal(tensor, run.task.network.state_dict()[name]) for name, tensor in network.state_dict().items())
    list(run.run())
    folder = open_model(Path(config.out) / "model")
    assert (folder.config, folder.disclaimer) == (sizes, "Knows only noise.")
    assert folder.licence == "Theirs alone; and that of the reports it was trained on"
    assert folder.citations == ("Somebody 2026", CT_CLIP)
    assert folder.tokenizer().fingerprint == words.fingerprint


def test_without_a_report_to_validate_on_only_a_run_that_does_not_is_begun(config: LabelerConfig) -> None:
    with pytest.raises(InputError, match="no report is left to validate on"):
        labeler_run(config, TRAINING, ALONE, validation=())
    assert not Path(config.out).exists()
    assert [step.scores for step in labeler_run(replace(config, eval_every=0), TRAINING, ALONE, validation=()).run()] == [{}] * 4
