"""Both encoders in training: codes of ranks, activations that are computed again, precision, and the folder at the end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from thoracle.models.bundle.model_folder import load_state_dict, open_model
from thoracle.training.contrastive.dual_encoder import DualEncoder
from thoracle.training.engine.distributed import World

ALONE = World(rank=0, size=1, device=torch.device("cpu"))
Ranks = list[dict[str, dict[str, Any]]]


@pytest.mark.slow
def test_codes_of_ranks_drift_apart_only_where_asked(steps: ModuleType, two_ranks: Ranks) -> None:
    first, second = two_ranks
    assert torch.equal(first["global"]["embed"], second["global"]["embed"])
    assert not torch.equal(first["own codes"]["embed"], second["own codes"]["embed"])
    for number, rank in enumerate(two_ranks):
        alone = steps.step(steps.CONFIG, ALONE, [steps.batch(first=4 * number, pairs=4)])
        torch.testing.assert_close(rank["own codes"]["embed"], alone.embed, atol=1e-5, rtol=0)


def test_checkpointed_activations_change_nothing_and_move_the_codes_once(steps: ModuleType) -> None:
    text = replace(steps.MODEL.bert, hidden_dropout_prob=0.1)
    config = replace(steps.CONFIG, model=replace(steps.MODEL, bert=text))
    plain = steps.step(config, ALONE, [steps.batch()])
    again = steps.step(replace(config, activation_checkpointing=True), ALONE, [steps.batch()])
    assert torch.equal(plain.loss, again.loss)
    assert all(torch.equal(plain.gradients[name], again.gradients[name]) for name in plain.gradients)
    assert torch.equal(plain.embed, again.embed)


@pytest.mark.slow
def test_compiled_layers_give_the_same_gradients(steps: ModuleType) -> None:
    plain = steps.step(steps.CONFIG, ALONE, [steps.batch()])
    compiled = steps.step(
        replace(steps.CONFIG, compile=True, activation_checkpointing=True, gradient_cache_chunk=4), ALONE, [steps.batch()]
    )
    steps.same_gradients(compiled.gradients, plain.gradients)


def test_bf16_rounds_activations_and_keeps_weights_in_float32(steps: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = steps.step(steps.CONFIG, ALONE, [steps.batch()])
    # oneDNN's bfloat16 ends the process where a virtual machine shows tiles it does not have (see models/weights/precision.py).
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    rounded = steps.step(replace(steps.CONFIG, precision="bf16"), ALONE, [steps.batch()])
    assert rounded.loss.item() == pytest.approx(exact.loss.item(), abs=0.1)
    assert not torch.equal(rounded.loss, exact.loss)
    assert {gradient.dtype for gradient in rounded.gradients.values()} == {torch.float32}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"extra_latent_projection": True},
        {"decoupled_loss": True},
        {"spatial_pool": "grid"},
        {"slice_pool": "attention"},
        {"ctvit": {"hu_windows": ((-1.0, 0.0), (0.0, 1.0)), "subpatches": 2, "dim_cell": 8}},
    ],
    ids=lambda change: "-".join(change) or "plain",
)
@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_every_parameter_that_trains_has_a_gradient(loss: str, change: dict[str, Any], steps: ModuleType) -> None:
    """DDP waits for each of them at its second step."""
    if loss == "sigmoid" and change.keys() & {"extra_latent_projection", "decoupled_loss"}:
        pytest.skip("belongs to the softmax loss")
    values = {**change, **({"ctvit": replace(steps.MODEL.ctvit, **change["ctvit"])} if "ctvit" in change else {})}
    task = steps.task(replace(steps.CONFIG, model=replace(steps.MODEL, **values), loss=loss), ALONE)
    task.accumulate_gradients([steps.batch()])
    assert [name for name, p in task.checkpoint_modules().named_parameters() if p.requires_grad and p.grad is None] == []


def test_the_temperature_stays_within_its_limit(steps: ModuleType) -> None:
    task = steps.task(steps.CONFIG, ALONE)
    with torch.no_grad():
        task.clip.temperature.fill_(7.0)
    task.on_optimizer_step()
    assert task.clip.temperature.exp().item() == pytest.approx(100)


def test_ddp_and_fsdp_wrap_all_but_the_temperature(steps: ModuleType) -> None:
    """No forward pass of a rank's own pairs needs it: DDP would wait for its gradient for ever."""
    clip = steps.task(steps.CONFIG, ALONE).clip
    encoder = DualEncoder(clip)
    missing = {name for name, _ in clip.named_parameters()} - {name.removeprefix("parts.") for name, _ in encoder.named_parameters()}
    assert missing == {"temperature"}
    batch = steps.batch(pairs=2)
    torch.manual_seed(0)
    latents = encoder.eval()(batch.input_ids_BN, batch.attention_mask_BN, batch.volume_B1ZHW)
    assert [tuple(latent.shape) for latent in latents] == [(2, 16), (2, 16)]
    text, image = latents
    with torch.no_grad():
        encoded = clip.eval().encode_volume(batch.volume_B1ZHW).latent_BL
    torch.testing.assert_close(image, encoded)
    assert not torch.allclose(text, image)


def test_codes_move_once_by_what_was_collected_and_by_nothing_else(steps: ModuleType) -> None:
    """By the published average: code + 0.2 (direction of its tokens' mean - code); codes without tokens towards their own direction."""
    task = steps.task(steps.CONFIG, ALONE)
    book, batch = task.codes.codebook, steps.batch(pairs=4)
    task.train()
    for _ in range(2):  # of the first step nothing is left for the second
        embed, sizes, statistics = book.embed[0].clone(), book.cluster_size[0].clone(), []
        with torch.no_grad():
            for part in batch.chunks(2, ALONE.device):
                with task.codes.collecting():
                    task.encode(*part)
                task.encode(*part)  # a second pass over the same volumes counts for nothing
        assert torch.equal(book.embed[0], embed), "they wait for the end of the step"
        collect, book.on_assignment = book.on_assignment, lambda *counts_and_sums, all_=statistics: all_.append(counts_and_sums)
        with torch.no_grad():
            task.encode(*next(batch.chunks(4, ALONE.device)))
        book.on_assignment = collect
        task.update_codebook()
        ((counts_K, sums_KD),) = statistics
        assert 0 < (counts_K == 0).sum() < len(counts_K)
        target = F.normalize(torch.where(counts_K[:, None] == 0, F.normalize(embed, dim=-1), sums_KD), dim=-1)
        torch.testing.assert_close(book.embed[0], embed + 0.2 * (target - embed))
        torch.testing.assert_close(book.cluster_size[0], sizes + 0.2 * (counts_K - sizes))


@pytest.mark.parametrize("sync", [True, False])
def test_a_rank_keeps_its_codes_where_they_drift(sync: bool, steps: ModuleType) -> None:
    config = replace(steps.CONFIG, codebook_sync=sync)
    task, fresh = steps.task(config, ALONE), steps.task(config, ALONE)
    task.accumulate_gradients([steps.batch()])
    state = task.rank_state()
    assert bool(state) == (not sync)
    assert not torch.equal(task.codes.codebook.embed, fresh.codes.codebook.embed)
    fresh.load_rank_state(state)
    assert torch.equal(task.codes.codebook.embed, fresh.codes.codebook.embed) == (not sync)


def test_a_model_without_codes_has_none_to_move(steps: ModuleType) -> None:
    task = steps.task(replace(steps.FINDER, batch_size=2), ALONE)
    assert task.codes.codebook is None
    assert task.codes.state() == {}
    task.update_codebook()
    task.load_rank_state({"embed": torch.zeros(1)})


def test_the_folder_has_the_weights_of_the_model_alone_and_its_disclaimer(steps: ModuleType, tmp_path: Path) -> None:
    task = steps.task(replace(steps.CONFIG, disclaimer="Knows only noise."), ALONE)
    weights = {f"clip.{name}": tensor + 1 for name, tensor in task.network.state_dict().items()}
    task.save_model(tmp_path / "model", {**weights, "probe.weight": torch.zeros(1)}, step=7)
    folder = open_model(tmp_path / "model", verify=True)
    assert (folder.kind, folder.trained, folder.disclaimer) == ("ct-clip", True, "Knows only noise.")
    assert (folder.config, folder.preprocess) == (steps.MODEL, steps.CONFIG.preprocess)
    assert folder.tokenizer().fingerprint == task.tokenizer.fingerprint
    assert "Trained for 7 steps." in (folder.path / "README.md").read_text()
    saved = load_state_dict(folder)
    assert saved.keys() == task.network.state_dict().keys()
    assert all(torch.equal(tensor, weights[f"clip.{name}"]) for name, tensor in saved.items())
