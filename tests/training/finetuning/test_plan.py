"""What is planned for VocabFine and for classifiers is what two steps take, and what full size comes to by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.training.conftest import PlannedSteps
from tests.training.vocabfine_start import write_start
from thoracle.config_reader import config_to_mapping
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.models.ctclip.config import CTCLIPConfig
from thoracle.training.engine.config import load_config
from thoracle.training.finetuning.config import ClassifierConfig
from thoracle.training.finetuning.plan import plan_classifier, plan_vocabfine
from thoracle.training.finetuning.vocabfine import VocabFineConfig

PUBLISHED = PreprocessConfig(size=(240, 480, 480))
VOXELS = 240 * 480 * 480
#: Of which 283.7 million are left once those that no loss reaches are frozen (tests/models/test_full_size.py has the first).
WEIGHTS = 438_148_761
RUN = {"samples": 47_149, "cache": 1000, "ranks": 1, "local_ranks": 1}


@pytest.fixture
def full_size(tmp_path: Path) -> str:
    """A model folder that says it holds the published CT-CLIP: a plan reads no weights."""
    folder = write_start(tmp_path / "model")
    about = json.loads((folder / "config.json").read_text())
    about |= {"config": config_to_mapping(CTCLIPConfig()), "preprocess": config_to_mapping(PUBLISHED)}
    (folder / "config.json").write_text(json.dumps(about))
    return str(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["vocabfine", "classifier on latents", "classifier on tokens", "classifier with LoRA", "classifier, all of it"]
)
def test_the_planned_peak_is_within_a_fifth_of_the_measured_one(name: str, planned_steps: PlannedSteps) -> None:
    figures = planned_steps(name)
    assert figures["planned"] == pytest.approx(figures["measured"], rel=0.2)


def test_vocabfine_at_full_size_is_planned_without_being_allocated(full_size: str) -> None:
    config = replace(load_config(Path("vocabfine"), VocabFineConfig), init_from=full_size)
    plan = plan_vocabfine(config, PUBLISHED, **RUN)
    assert plan.parameters == WEIGHTS
    assert (plan.device["weights"], plan.device["batch"]) == (
        4 * WEIGHTS,
        (2 * 4 + 2) * VOXELS,
    )  # encoded, next, and stored
    assert plan.device["moments"] == 2 * plan.device["gradients"] == 2 * 4 * plan.trained
    assert (plan.shared, plan.buffers) == (0, 2 * (8 + 1) * 2 * VOXELS)  # 8 threads; it is evaluated
    assert 0 <= plan.checkpoint - 4 * (WEIGHTS + 2 * plan.trained) < 2**25  # the codes, which no gradient moves, are saved too
    assert plan.steps_per_epoch == 47_149
    assert 4.7 * 2**30 < plan.device["activations"] < 8 * 2**30  # a volume keeps 4.7 GiB beside its attention matrices


@pytest.mark.slow
def test_lipro_at_full_size_needs_most_while_it_encodes(full_size: str) -> None:
    """A head of 18 rows of 512 and a bias; each volume's latent, 512 numbers, stays in memory and on the disk."""
    config = replace(load_config(Path("classifier"), ClassifierConfig), init_from=full_size)
    plan = plan_classifier(config, PUBLISHED, evaluated=3039, **RUN)
    assert plan.parameters == plan.trained == 18 * 512 + 18
    two_chunks = 2 * 4 * 4  # what is encoded and what is read ahead, of four volumes of 4 bytes a voxel
    assert (plan.device["weights"], plan.device["batch"]) == (4 * WEIGHTS, (two_chunks + 2) * VOXELS)
    assert (plan.shared, plan.buffers) == (0, (8 + 1) * 2 * VOXELS)
    assert "moments" not in plan.device
    assert plan.checkpoint == 3 * 4 * plan.parameters
    assert plan.held == (47_149 + 3039) * 512 * 4
    assert plan.cache == 1000 + plan.held


@pytest.mark.parametrize(
    ("pool", "bytes_a_token"),
    [("mean", 4), ("grid", 2 * 512)],  # the number of a code; or what the pool reads, 512 numbers in half precision
)
def test_tokens_that_a_head_reads_are_counted_as_they_are_kept(full_size: str, pool: str, bytes_a_token: int) -> None:
    about = json.loads((Path(full_size) / "config.json").read_text())
    about["config"]["spatial_pool"] = pool
    (Path(full_size) / "config.json").write_text(json.dumps(about))
    config = ClassifierConfig(init_from=full_size, head="label-attention", encode_batch_size=1, batch_size=1)
    plan = plan_classifier(config, PUBLISHED, evaluated=0, **RUN)
    assert plan.held == 47_149 * 24**3 * bytes_a_token


def test_a_whole_encoder_that_learns_is_fed_volumes(full_size: str) -> None:
    config = ClassifierConfig(init_from=full_size, encoder="full", batch_size=1, precision="bf16")
    plan = plan_classifier(config, PUBLISHED, evaluated=3039, **RUN)
    assert (plan.held, plan.cache, plan.device["batch"]) == (0, 1000, (2 * 4 + 2) * VOXELS)
    assert 0 < plan.trained < WEIGHTS
    assert plan.checkpoint > 4 * 3 * plan.trained  # fixed codes are saved too
