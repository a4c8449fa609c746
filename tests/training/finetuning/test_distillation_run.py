"""A student's run: it comes near its teacher's answers, resumes to the bit, and says what it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.cohorts import write_cohort
from tests.training.vocabfine_start import PREPROCESS, write_start
from thoracle.cohort.samples.dataset import CohortDataset
from thoracle.errors import InputError
from thoracle.inference.model import load
from thoracle.models.bundle.model_folder import load_state_dict, open_model
from thoracle.training.engine.config import OptimizerConfig, load_run_config
from thoracle.training.engine.distributed import World
from thoracle.training.finetuning.distillation import DistillationConfig
from thoracle.training.finetuning.distillation_run import distillation_run

ALONE = World(rank=0, size=1, device=torch.device("cpu"))


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    return write_start(tmp_path / "teacher")


@pytest.fixture
def volumes(tmp_path: Path) -> CohortDataset:
    return CohortDataset(write_cohort(tmp_path / "cohort", PREPROCESS, volumes=12), split="train")


def config(teacher: Path, out: Path, **more: object) -> DistillationConfig:
    narrow = replace(open_model(teacher).config.ctvit, dim=8, heads=1)
    optimizer = OptimizerConfig(lr=1e-2, max_grad_norm=1.0, warmup_steps=2)
    settings = {"steps": 4, "batch_size": 4, "num_workers": 0, "save_every": 1, "optimizer": optimizer, "ctvit": narrow, **more}
    return DistillationConfig(init_from=str(teacher), out=str(out), **settings)


def test_it_comes_near_its_teachers_latents_and_answers_in_its_words(teacher: Path, volumes: CohortDataset, tmp_path: Path) -> None:
    steps = list(distillation_run(config(teacher, tmp_path / "run", steps=120, save_every=120), volumes, ALONE).run())
    assert steps[-1].loss < 0.25 * steps[0].loss
    student, before = load(tmp_path / "run" / "model"), load(teacher)
    volume = volumes[0].read_volume()[0]
    assert float(student.volume_latent(volume) @ before.volume_latent(volume)) > 0.7
    assert student.folder.weights_bytes < before.folder.weights_bytes
    np.testing.assert_array_equal(student.encode_text(["Nodule."]), before.encode_text(["Nodule."]))
    assert student.folder.licence == "Theirs alone; and that of the data it was trained on"
    (caution,) = student.detect(volume).warnings
    assert caution.startswith("Knows only noise. A student")


def test_stopped_and_resumed_the_weights_are_bit_equal(teacher: Path, volumes: CohortDataset, tmp_path: Path) -> None:
    list(distillation_run(config(teacher, tmp_path / "whole"), volumes, ALONE).run())
    for step in distillation_run(config(teacher, tmp_path / "parts"), volumes, ALONE).run():
        if step.step == 2:
            break
    list(distillation_run(config(teacher, tmp_path / "parts"), volumes, ALONE, resume=True).run())
    whole, parts = (load_state_dict(open_model(tmp_path / name / "model")) for name in ("whole", "parts"))
    assert all(torch.equal(tensor, parts[name]) for name, tensor in whole.items())


def test_a_run_goes_on_with_the_teacher_that_it_was_begun_with_wherever_that_is(
    teacher: Path, volumes: CohortDataset, tmp_path: Path
) -> None:
    for step in distillation_run(config(teacher, tmp_path / "run"), volumes, ALONE).run():
        if step.step == 2:
            break
    other = write_start(tmp_path / "other", seed=2)
    with pytest.raises(InputError, match="is not the model that run was begun from"):
        distillation_run(config(other, tmp_path / "run"), volumes, ALONE, resume=True)
    teacher.rename(tmp_path / "moved")
    assert [step.step for step in distillation_run(config(tmp_path / "moved", tmp_path / "run"), volumes, ALONE, resume=True).run()] == [
        3,
        4,
    ]


def test_a_student_says_so_beside_a_disclaimer_of_ones_own(teacher: Path, volumes: CohortDataset, tmp_path: Path) -> None:
    list(distillation_run(config(teacher, tmp_path / "run", steps=1, disclaimer="Of our hospital alone."), volumes, ALONE).run())
    said = open_model(tmp_path / "run" / "model").disclaimer
    assert said.startswith("Of our hospital alone. A student: ")
    own = load_run_config(tmp_path / "run" / "config.yaml", DistillationConfig)
    assert distillation_run(own, volumes, ALONE, resume=True).config.disclaimer == own.disclaimer == said


def test_a_teacher_is_a_ct_clip_and_a_student_takes_its_volumes(teacher: Path, volumes: CohortDataset, tmp_path: Path) -> None:
    settings = config(teacher, tmp_path / "run")
    large = replace(settings, ctvit=replace(settings.ctvit, image_size=80))
    with pytest.raises(InputError, match="image_size"):
        distillation_run(large, volumes, ALONE)
    assert not (tmp_path / "latents").exists()
    assert not (tmp_path / "run").exists()
