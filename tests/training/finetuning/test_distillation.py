"""A student's loss is 1 less the cosine to the teacher's latents, and nothing but its image encoder learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.training.memory_volumes import stack
from tests.training.vocabfine_start import Volumes, write_start
from thoracle.errors import InputError
from thoracle.models.bundle.model_folder import load_state_dict, open_model
from thoracle.models.encoder import EncodedText
from thoracle.training.engine.distributed import World
from thoracle.training.finetuning.distillation import DistillationConfig, DistillationTask, build_student
from thoracle.training.finetuning.vocabfine import collate_labelled

ALONE = World(rank=0, size=1, device=torch.device("cpu"))
TEXT = ("text_transformer.", "to_text_latent.", "temperature", "to_text_latent_extra.", "to_visual_latent_extra.")


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    return write_start(tmp_path / "teacher")


def config(teacher: Path, **ctvit: int) -> DistillationConfig:
    return DistillationConfig(init_from=str(teacher), ctvit=replace(open_model(teacher).config.ctvit, **ctvit))


def test_its_loss_is_one_less_the_cosine_and_text_does_not_learn(teacher: Path) -> None:
    folder = open_model(teacher)
    settings = config(teacher, dim=8, heads=1)
    torch.manual_seed(3)
    targets = torch.nn.functional.normalize(torch.randn(8, folder.config.dim_latent), dim=1)
    names = [f"v{row}" for row in range(8)]
    student = build_student(settings, folder)
    task = DistillationTask(student, settings, ALONE, teacher=folder, latents_VL=targets, names=names)
    samples = [Volumes()[row] for row in (5, 2, 7)]
    volume = torch.stack([sample.read_volume() for sample in samples])
    empty = folder.tokenizer().encode([""])
    text = EncodedText(input_ids_BN=empty.input_ids_BN, attention_mask_BN=empty.attention_mask_BN)
    latents = student.train().encode_pair_latents(text, volume)[1]
    expected = 1 - torch.nn.functional.cosine_similarity(latents, targets[[5, 2, 7]]).mean()
    assert task.accumulate_gradients([collate_labelled(samples, stack(samples))]) == pytest.approx(expected.item(), rel=1e-5)
    learning = {name for name, parameter in student.named_parameters() if parameter.grad is not None and parameter.grad.any()}
    assert "to_visual_latent.weight" in learning
    assert any(name.startswith("visual_transformer.enc_spatial") for name in learning)
    assert not [name for name in learning if name.startswith(TEXT)]
    assert not [parameter for parameter in task.trainable_parameters() if any(parameter is frozen for frozen in task.text_parameters())]


def test_it_begins_with_the_teachers_weights_where_they_have_a_place(teacher: Path) -> None:
    folder = open_model(teacher)
    weights = load_state_dict(folder)
    narrow = build_student(config(teacher, dim=8, heads=1), folder).state_dict()
    assert all(torch.equal(narrow[name], weights[name]) for name in narrow if name.startswith(TEXT) and narrow[name].dim() < 2)
    assert narrow["to_visual_latent.weight"].shape != weights["to_visual_latent.weight"].shape
    same = build_student(config(teacher), folder).state_dict()
    assert same.keys() == weights.keys()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in same.items())


def test_volumes_of_another_size_are_no_students(teacher: Path) -> None:
    with pytest.raises(InputError, match=r"ctvit\.image_size is 80, the teacher's is 40"):
        build_student(config(teacher, image_size=80), open_model(teacher))
