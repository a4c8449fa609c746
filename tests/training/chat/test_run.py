"""Runs of a chat model's three stages, each of which goes on from the one before: bit-equal when stopped and resumed."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.language_families import write_family
from tests.training import chat_parts, steps
from tests.training.chat_parts import question
from tests.training.cohorts import write_cohort
from thoracle.cohort.manifest import Cohort
from thoracle.cohort.vqa.question_file import open_questions
from thoracle.cohort.vqa.vqa_file import QuestionSet, write_questions
from thoracle.errors import InputError
from thoracle.models.chat.language_model import load_language_model
from thoracle.training.chat.run import QuestionSplit, chat_run, finding_targets, split_questions
from thoracle.training.chat.scan_features import ScanFeatures, encode_cohort_scans
from thoracle.training.chat.task import AdapterConfig, ChatConfig, NewProjectorConfig, Stage
from thoracle.training.engine.config import OptimizerConfig
from thoracle.training.engine.distributed import World
from thoracle.training.engine.trainer import Trainer
from thoracle.types import ABNORMALITIES

ALONE = World(rank=0, size=1, device=torch.device("cpu"))
STAGES: tuple[Stage, ...] = ("base", "projector", "lora")
QUESTIONS = [question(k, f"v{k % 4}", answer="No." if k % 2 else "Yes, on the left.") for k in range(8)]
HELD_OUT = [question(k, f"v{k}") for k in (4, 5, 4)]


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A cohort with its encoded scans, and the folder below which each stage has its run."""

    folder: Path
    cohort: Cohort
    scans: ScanFeatures

    def config(self, stage: Stage, out: Path, **more: Any) -> ChatConfig:
        """Configure four steps of a stage that goes on from the one before."""
        return ChatConfig(
            stage=stage,
            out=str(out),
            encoder=str(self.folder / "encoder"),
            projector=NewProjectorConfig(num_queries=4, dim=8, attention_dim=8, heads=2, num_positions=8, num_findings=18),
            phantom_lm=chat_parts.LANGUAGE,
            loss_weight="sqrt_length",
            optimizer=OptimizerConfig(lr=1e-3, max_grad_norm=1.0),
            **{
                "language_model": str(self.folder / "base" / "model"),
                "init_from": str(self.folder / "projector" / "model") if stage == "lora" else "",
                "adapter": AdapterConfig(rank=4, alpha=8),
                "sequence_length": 80,
                "steps": 4,
                "batch_size": 1,
                "num_workers": 0,
                "save_every": 1,
                **more,
            },
        )

    def run(self, config: ChatConfig, **more: Any) -> Trainer:
        scans = None if config.stage == "base" else self.scans
        return chat_run(config, QUESTIONS, ALONE, findings=finding_targets(self.cohort), scans=scans, **more)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    """All three stages, done."""
    folder = tmp_path_factory.mktemp("chat")
    encoder = chat_parts.write_encoder(folder / "encoder")
    cohort = write_cohort(folder / "cohort", steps.CONFIG.preprocess)
    scans = encode_cohort_scans(cohort, [entry.volume for entry in cohort.entries], ALONE, encoder=encoder.path)
    parts = Parts(folder=folder, cohort=cohort, scans=scans)
    for stage in STAGES:
        list(parts.run(parts.config(stage, folder / stage)).run())
    return parts


def _weights(out: Path) -> dict[Path, bytes]:
    return {file.relative_to(out): file.read_bytes() for file in (out / "model").rglob("*.safetensors")}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_was_stopped_and_resumed_ends_bit_equal(stage: Stage, parts: Parts, tmp_path: Path) -> None:
    config = parts.config(stage, tmp_path / "run")
    torch.manual_seed(99)  # whatever was drawn before must not matter
    assert len(list(islice(parts.run(config).run(), 2))) == 2
    torch.manual_seed(98)
    assert [step.step for step in parts.run(config, resume=True).run()] == [3, 4]
    whole = _weights(parts.folder / stage)
    assert _weights(tmp_path / "run") == whole
    assert len(whole) == (2 if stage == "lora" else 1)


def test_stages_train_what_they_are_for_and_leave_the_language_model_as_it_was(parts: Parts) -> None:
    trained = {stage: parts.run(parts.config(stage, parts.folder / stage), resume=True).task.trainable_parameters() for stage in STAGES}
    language = load_language_model(parts.folder / "base" / "model").model
    assert sum(map(torch.numel, trained["base"])) == sum(map(torch.numel, language.parameters())), "all of it, and no projector"
    # 7 linear maps of the one layer, of rank 4: 4 (in + out) weights each.
    maps = [(32, 32)] * 4 + [(32, 48)] * 2 + [(48, 32)]
    adapter = sum(4 * (rows + columns) for rows, columns in maps)
    assert sum(map(torch.numel, trained["lora"])) - sum(map(torch.numel, trained["projector"])) == adapter
    assert not (parts.folder / "projector" / "model" / "adapter").exists()
    about = json.loads((parts.folder / "lora" / "model" / "adapter" / "adapter_config.json").read_text())
    assert (about["r"], about["lora_alpha"], about["base_model_name_or_path"]) == (4, 8, "")


def test_a_folder_says_what_its_encoder_says_of_itself(parts: Parts) -> None:
    for stage in ("projector", "lora"):
        about = json.loads((parts.folder / stage / "model" / "chat.json").read_text())
        assert about["caution"] == "Knows only noise."
        assert about["adapter"] == (stage == "lora")


def test_stage_two_begins_with_the_projector_of_stage_one_and_changes_nothing_yet(parts: Parts, tmp_path: Path) -> None:
    first = parts.run(parts.config("projector", parts.folder / "projector"), resume=True).task
    second = parts.run(parts.config("lora", tmp_path / "lora")).task
    before, after = first.model.projector.state_dict(), second.model.projector.state_dict()
    saved = parts.run(parts.config("projector", parts.folder / "projector"), resume=True)
    assert saved.done == 4
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    batch = saved._collate([saved._data[0]])
    first.model.eval()
    second.model.eval()
    with torch.no_grad():
        torch.testing.assert_close(second.loss(batch), first.loss(batch))


def test_questions_that_are_held_out_are_scored_and_not_trained_on(parts: Parts, tmp_path: Path) -> None:
    run = parts.run(parts.config("projector", tmp_path / "run", eval_every=4, batch_size=2, steps=4), held_out=HELD_OUT)
    scores = [step.scores for step in run.run()][-1]
    assert scores["held_out_loss"] > 0
    assert scores["minus_loss"] == -scores["held_out_loss"]
    images = {image for index in range(len(run._data)) for tree in run._data[index].trees for image in tree.images}
    assert images == {"v0", "v1", "v2", "v3"}
    with torch.no_grad():
        assert run._evaluate()["held_out_loss"] == pytest.approx(scores["held_out_loss"])
        run.task.model.projector.proj[2].bias.add_(10.0)
        assert run._evaluate()["held_out_loss"] != pytest.approx(scores["held_out_loss"]), "it is the model's as it is"


def test_a_language_model_of_the_base_stage_has_a_word_for_each_finding(parts: Parts) -> None:
    tokenizer = load_language_model(parts.folder / "base" / "model").tokenizer
    for name in ABNORMALITIES:
        assert len(tokenizer(f" {name.lower()}", add_special_tokens=False)["input_ids"]) == 1


def _split(sets: list[QuestionSet], folder: Path, cohort: Cohort) -> QuestionSplit:
    write_questions(folder / "vqa.json", sets)
    return split_questions(open_questions(folder / "vqa.json"), cohort, held_out="dev")


def test_questions_are_split_as_their_scans_are_and_what_is_left_out_is_said(parts: Parts, tmp_path: Path) -> None:
    of = [question(0, "v0"), question(1, "v3", "v1"), question(2, "v4"), question(3, "v1", "v5"), question(4, "v9"), question(5, "v5")]
    split = _split(of, tmp_path, parts.cohort)
    assert [conversation.id for conversation in split.train] == ["q0", "q1"]
    assert {conversation.id for conversation in split.held_out} == {"q2", "q5"}
    assert split.notes == (
        "1 of 6 questions are left out: they are about volumes that the cohort has not (those that `--reconstruction` left out, too).",
        "1 of 6 questions are left out: they are about two splits.",
    )
    many = [question(100 + k, "v4" if k < 20 else "v5") for k in range(40)]
    shuffled = list(_split([*of, *many], tmp_path, parts.cohort).held_out)
    assert list(_split([*many[::-1], *of], tmp_path, parts.cohort).held_out) == shuffled
    assert {conversation.images for conversation in shuffled[:12]} == {("v4",), ("v5",)}, "a few are of both scans"
    assert not len(_split(of[2:], tmp_path, parts.cohort).train)


def test_questions_about_no_scan_are_trained_on_and_asked_where_no_scan_of_the_split_train_is(parts: Parts, tmp_path: Path) -> None:
    general = question(7)
    split = _split([question(0, "v0"), general, question(2, "v4")], tmp_path, parts.cohort)
    assert ([one.id for one in split.train], [one.id for one in split.held_out], split.notes) == (["q0", "q7"], ["q2"], ())
    split = _split([general, question(2, "v4")], tmp_path, parts.cohort)
    assert (list(split.train), {one.id for one in split.held_out}) == ([], {"q7", "q2"})
    config = parts.config("projector", tmp_path / "run", steps=2, batch_size=1, sequence_length=200)
    run = chat_run(config, [general, *QUESTIONS], ALONE, findings=finding_targets(parts.cohort), scans=parts.scans)
    assert any(tree.images == () for k in range(len(run._data)) for tree in run._data[k].trees)
    assert [step.step for step in run.run()] == [1, 2]


def test_targets_are_what_labels_and_reports_say_of_a_volume(parts: Parts) -> None:
    """Volume k has abnormality a if k <= a % 4; of v0 and 17 nobody says."""
    targets = finding_targets(parts.cohort)
    for k in range(6):
        there = targets(f"v{k}")[:, 0]
        assert targets(f"v{k}").shape == (18, 3)
        assert there[:17].tolist() == [float(k <= number % 4) for number in range(17)]
    assert targets("v0")[17, 0].isnan()
    assert targets("v1")[17, 0] == 1


def test_a_resumed_run_of_other_settings_is_refused(parts: Parts) -> None:
    with pytest.raises(InputError, match="begun with another loss_weight"):
        parts.run(replace(parts.config("lora", parts.folder / "lora"), loss_weight="token"), resume=True)


@pytest.mark.parametrize("family", ["gpt-2", "opt", "falcon", "gpt-neox", "bloom"])
def test_an_adapter_is_trained_on_families_whose_layers_have_other_names_and_its_card_says_which(
    family: str, parts: Parts, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base, (before, after) = write_family(family, tmp_path / "base"), (tmp_path / "run", tmp_path / "run" / "model")
    config = parts.config("lora", before, steps=2, language_model=str(base), init_from="", sequence_length=200)
    with caplog.at_level("INFO"):
        steps_done = list(parts.run(config).run())
    assert [step.step for step in steps_done] == [1, 2]
    assert re.search(r"LoRA adapts (8|12) linear maps: ", caplog.text)
    assert "LoRA adapts" in (after / "projector" / "README.md").read_text()
    assert ("trained unpacked, one conversation a row" in caplog.text) == (family == "bloom")
    adapted, plain = load_language_model(base, adapter=after / "adapter").model, load_language_model(base).model
    ids = torch.tensor([[7, 8, 9]])
    with torch.inference_mode():
        assert not torch.equal(adapted(input_ids=ids).logits, plain(input_ids=ids).logits)


def test_recurrent_families_train_a_projector_unpacked(parts: Parts, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    base = write_family("mamba", tmp_path / "base")
    run = parts.run(parts.config("projector", tmp_path / "run", steps=2, language_model=str(base), sequence_length=200), held_out=HELD_OUT)
    assert [step.step for step in run.run()] == [1, 2]
    assert "layers of linear_attention" in caplog.text
    assert {len(tree.continuations) for k in range(len(run._data)) for tree in run._data[k].trees} == {1}


@pytest.mark.parametrize("stage", ["projector", "lora"])
def test_a_base_in_bf16_stays_so_and_what_is_trained_is_float32(
    stage: Stage, parts: Parts, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    exact = [step.loss for step in parts.run(parts.config(stage, tmp_path / "exact", init_from="")).run()]
    run = parts.run(parts.config(stage, tmp_path / "bf16", init_from="", dtype="bf16"))
    assert [step.loss for step in run.run()] == pytest.approx(exact, rel=0.05)
    assert "unpacked" not in caplog.text
    assert {parameter.dtype for parameter in run.task.trainable_parameters()} == {torch.float32}
    frozen = {parameter.dtype for parameter in run.task.model.language.parameters() if not parameter.requires_grad}
    assert frozen == {torch.bfloat16}


def test_stage_one_on_plain_conversations_reads_no_question_and_trains(parts: Parts, tmp_path: Path) -> None:
    run = parts.run(parts.config("projector", tmp_path / "run", prompt="plain", steps=2))
    assert [step.step for step in run.run()] == [1, 2]
    tokenizer = load_language_model(parts.folder / "base" / "model").tokenizer
    said = {
        tokenizer.decode([number for number in (*tree.prefix, *rest.ids) if number >= 0])
        for k in range(len(run._data))
        for tree in run._data[k].trees
        for rest in tree.continuations
    }
    assert said == {"No.\n", "Yes, on the left.\n"}
    with pytest.raises(InputError, match="stage lora is not trained on plain conversations"):
        parts.config("lora", tmp_path / "lora", prompt="plain")


def test_an_adapters_dropout_is_drawn_in_training_and_kept_in_its_folder(parts: Parts, tmp_path: Path) -> None:
    config = parts.config("lora", tmp_path / "run", adapter=AdapterConfig(rank=4, alpha=8, dropout=0.5), steps=2)
    dropped = [step.loss for step in parts.run(config).run()]
    config = replace(config, out=str(tmp_path / "whole"), adapter=AdapterConfig(rank=4, alpha=8, dropout=0.0))
    whole = [step.loss for step in parts.run(config).run()]
    assert dropped[0] == whole[0], "a new adapter adds nothing, whatever it sees"
    assert dropped[1] != whole[1]
    assert json.loads((tmp_path / "run" / "model" / "adapter" / "adapter_config.json").read_text())["lora_dropout"] == 0.5
