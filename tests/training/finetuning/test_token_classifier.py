"""Classifiers on the tokens of encoders other than CT-CLIP: stopped and resumed to the bit, and what stays as it came."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.models.tiny_configs import CONFIGS
from tests.training.cohorts import write_cohort
from tests.training.conftest import Ranks
from thoracle.cohort.samples.dataset import CohortDataset
from thoracle.config_reader import config_to_mapping
from thoracle.ct.preprocess import Preprocessing
from thoracle.ct.recipes.published import COLIPRI, MERLIN
from thoracle.ct.recipes.recipe import FitToTiles
from thoracle.errors import CapabilityMissing, InputError
from thoracle.inference.explain import saliency
from thoracle.inference.model import load
from thoracle.models.bundle.model_folder import ModelFolder, load_state_dict, open_model, save_model
from thoracle.models.merlin.config import MerlinConfig
from thoracle.models.registry import REGISTRY
from thoracle.training.engine.distributed import World
from thoracle.training.finetuning.classifier_run import classifier_run
from thoracle.training.finetuning.config import ClassifierConfig
from thoracle.training.finetuning.plan import plan_classifier
from thoracle.training.finetuning.token_classifier import token_parameters, token_target
from thoracle.types import ABNORMALITIES

ALONE = World(rank=0, size=1, device=torch.device("cpu"))
STARTS: dict[str, tuple[Any, Preprocessing]] = {
    "merlin": (MerlinConfig(width=2, layers=(1, 1, 1, 1), contrastive_dim=8), replace(MERLIN, fit=replace(MERLIN.fit, size=(20, 40, 40)))),
    "colipri": (
        replace(CONFIGS["colipri"], input_shape=(20, 40, 40), patch_size=(10, 10, 10)),
        replace(COLIPRI, fit=replace(COLIPRI.fit, size=(20, 40, 40))),
    ),
}


TILES = replace(MERLIN, resampling=None, fit=FitToTiles(tile=(20, 40, 40), padding=0.0))


def begin(kind: str, place: Path) -> ModelFolder:
    sizes, recipe = STARTS[kind]
    return _save(kind, sizes, recipe, place)


def _save(kind: str, sizes: Any, recipe: Preprocessing, place: Path) -> ModelFolder:
    spec = REGISTRY[kind]
    torch.manual_seed(1)
    return save_model(
        place, kind=kind, config=sizes, preprocess=recipe, labels=spec.labels(sizes), tensors=spec.build(sizes).state_dict(),
        tokenizer=None, licence="MIT", trained=True, caution="Of noise.",
    )  # fmt: skip


@pytest.mark.parametrize("kind", STARTS)
@pytest.mark.parametrize(
    ("head", "encoder"), [("linear", "frozen"), ("attention", "frozen"), ("label-attention", "lora"), ("linear", "full")]
)
def test_stopped_and_resumed_the_weights_are_bit_equal(kind: str, head: str, encoder: str, tmp_path: Path) -> None:
    start = begin(kind, tmp_path / "start")
    cohort = write_cohort(tmp_path / "cohort", STARTS[kind][1])
    train, dev = CohortDataset(cohort, split="train"), CohortDataset(cohort, split="dev")
    config = ClassifierConfig(
        init_from=str(start.path), head=head, encoder=encoder, lora_rank=2, steps=3, batch_size=2, eval_every=3, save_every=1, num_workers=0
    )

    def run(name: str, *, until: int = 3, resume: bool = False) -> dict[str, Tensor]:
        for step in classifier_run(replace(config, out=str(tmp_path / name)), train, dev, ALONE, resume=resume).run():
            if step.step == until < 3:
                return {}
        return load_state_dict(open_model(tmp_path / name / "model"))

    expected = run("whole")
    run("stopped", until=2)
    torch.manual_seed(7)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in run("stopped", resume=True).items())
    used = token_parameters(token_target(config, start), STARTS[kind][1].size)
    changed = {name for name, tensor in load_state_dict(start).items() if not torch.equal(expected[f"encoder.{name}"], tensor)}
    assert (changed == set()) == (encoder == "frozen")
    assert changed <= used, "what tokens are not made of stays, running statistics too"
    model = load(tmp_path / "whole" / "model", device="cpu")
    assert (model.folder.kind, model.folder.labels, model.folder.disclaimer) == ("token-classifier", ABNORMALITIES, "Of noise.")
    assert model.folder.licence.startswith("MIT")
    volume = train[0].read_volume()[0]
    assert len(model.detect(volume).probabilities) == 18
    if head == "label-attention":
        maps = saliency(model, volume, abnormalities=ABNORMALITIES[:2], method="attention")
        assert maps.sum(axis=(1, 2, 3)) == pytest.approx([1, 1], abs=1e-5)
    again = replace(
        config,
        init_from=str(tmp_path / "whole" / "model"),
        out=str(tmp_path / "third"),
        steps=1,
        optimizer=replace(config.optimizer, lr=1e-12),
    )
    list(classifier_run(again, train, dev, ALONE).run())
    third = load_state_dict(open_model(tmp_path / "third" / "model"))
    assert all(torch.allclose(tensor, expected[name], atol=1e-6) for name, tensor in third.items()), "its head is gone on from"


def test_tokens_do_not_depend_on_texts_poolers_and_heads(tmp_path: Path) -> None:
    for kind, beside in (("merlin", ("contrastive_head", "running")), ("colipri", ("text_encoder", "pooler", "projector", "softmax"))):
        start = begin(kind, tmp_path / kind)
        target = token_target(ClassifierConfig(init_from=str(start.path)), start)
        used = token_parameters(target, STARTS[kind][1].size)
        rest = set(load_state_dict(start)) - used
        assert used
        assert all(any(part in name for part in beside) for name in rest), rest


def test_what_an_encoder_has_not_is_refused(tmp_path: Path) -> None:
    start = begin("merlin", tmp_path / "start")
    cohort = write_cohort(tmp_path / "cohort", STARTS["merlin"][1])
    volumes = CohortDataset(cohort, split="train")
    config = ClassifierConfig(init_from=str(start.path), out=str(tmp_path / "run"), num_workers=0)
    with pytest.raises(InputError, match="no slice_pool"):
        classifier_run(replace(config, slice_pool="attention"), volumes, None, ALONE)
    with pytest.raises(InputError, match="whose runs alone are planned"):
        plan_classifier(config, STARTS["merlin"][1], samples=4, evaluated=0, cache=0, ranks=1, local_ranks=1)
    bert = REGISTRY["text-classifier"]
    words = save_model(
        tmp_path / "words", kind="text-classifier", config=CONFIGS["text-classifier"], preprocess=STARTS["merlin"][1], labels=ABNORMALITIES,
        tensors=bert.build(CONFIGS["text-classifier"]).state_dict(), tokenizer=None, licence="", trained=True,
    )  # fmt: skip
    with pytest.raises(CapabilityMissing, match="whose tokens are not classified"):
        classifier_run(replace(config, init_from=str(words.path)), volumes, None, ALONE)


def test_scans_of_their_own_sizes_are_read_one_at_a_time(tmp_path: Path) -> None:
    """As SPECTRE's are: volumes of one and of two tiles."""
    start = _save("merlin", STARTS["merlin"][0], TILES, tmp_path / "start")
    cohort = write_cohort(tmp_path / "cohort", TILES)
    train, dev = CohortDataset(cohort, split="train"), CohortDataset(cohort, split="dev")
    assert [train[index].read_volume().shape for index in range(2)] == [(1, 20, 40, 40), (1, 40, 40, 40)]
    config = ClassifierConfig(
        init_from=str(start.path), steps=2, batch_size=2, encode_batch_size=1, num_workers=2, out=str(tmp_path / "run")
    )
    with pytest.raises(InputError, match=r"volumes of \(20, 40, 40\) and \(40, 40, 40\) voxels cannot be one batch"):
        list(classifier_run(replace(config, encode_batch_size=4), train, dev, ALONE).run())
    assert [step.step for step in classifier_run(config, train, dev, ALONE).run()] == [1, 2]
    model = load(tmp_path / "run" / "model", device="cpu")
    assert len(model.detect(train[1].read_volume()[0]).probabilities) == 18
    with pytest.raises(InputError, match="as many tokens as a scan has crops"):
        classifier_run(replace(config, head="attention"), train, dev, ALONE)
    with pytest.raises(InputError, match="cannot be encoded at once"):
        model.encode_batch([train[index].read_volume()[0] for index in range(2)])
    with pytest.raises(InputError, match=r"shape whole tiles of \(20, 40, 40\), got \(20, 40, 41\)"):
        model.detect(torch.zeros(20, 40, 41))


@pytest.mark.slow
@pytest.mark.parametrize(("head", "encoder"), [("attention", "frozen"), ("label-attention", "lora")])
def test_two_ranks_learn_what_one_does_and_resume_to_the_bit(head: str, encoder: str, tmp_path: Path, ranks: Ranks) -> None:
    """Of COLIPRI's tokens; two steps of four, stopped and resumed, are four, and two volumes on each of two ranks are four on one."""
    start = begin("colipri", tmp_path / "start")
    write_cohort(tmp_path / "cohort", STARTS["colipri"][1], volumes=10)
    config = ClassifierConfig(
        init_from=str(start.path), head=head, encoder=encoder, lora_rank=2, steps=4, batch_size=2, eval_every=0, save_every=1, num_workers=0
    )

    def run(name: str, *, until: int = 0, resume: bool = False, count: int = 2, batch: int = 2) -> None:
        file = tmp_path / f"{name}.yaml"
        values = config_to_mapping(replace(config, out=str(tmp_path / name), batch_size=batch, feature_cache=str(tmp_path / "features")))
        file.write_text(json.dumps(values))
        flags = ["--resume"] if resume else []
        ranks("-m", "tests.training.finetuning.token_ranks", file, tmp_path / "cohort", until, *flags, count=count)

    run("whole")
    run("stopped", until=2)
    run("stopped", resume=True)
    run("alone", count=1, batch=4)
    whole, stopped, alone = (load_state_dict(open_model(tmp_path / name / "model")) for name in ("whole", "stopped", "alone"))
    assert all(torch.equal(stopped[name], tensor) for name, tensor in whole.items())
    assert all(torch.allclose(alone[name], tensor, atol=1e-5) for name, tensor in whole.items())
    begun = begin("colipri", tmp_path / "again")
    changed = {name for name, tensor in load_state_dict(begun).items() if not torch.equal(whole[f"encoder.{name}"], tensor)}
    assert bool(changed) == (encoder == "lora")
