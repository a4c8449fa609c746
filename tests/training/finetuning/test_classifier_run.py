"""A classifier's run from a cohort: features computed once, weights of its labels, a folder, and starts that are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch

from tests.training.cohorts import write_cohort
from thoracle.cohort.manifest import Cohort
from thoracle.cohort.samples.dataset import CohortDataset
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.errors import InputError
from thoracle.inference.model import load
from thoracle.models.bundle.model_folder import load_state_dict, open_model, save_model
from thoracle.models.ctclip.model import CTCLIP
from thoracle.training.engine.distributed import World
from thoracle.training.engine.trainer import Trainer
from thoracle.training.finetuning.classifier_run import classifier_run
from thoracle.training.finetuning.config import ClassifierConfig
from thoracle.types import ABNORMALITIES

ALONE = World(rank=0, size=1, device=torch.device("cpu"))
PREPROCESS = PreprocessConfig(size=(20, 40, 40))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return write_cohort(tmp_path_factory.mktemp("scans") / "cohort", PREPROCESS)


@pytest.fixture
def config(steps: ModuleType, tmp_path: Path) -> ClassifierConfig:
    """LiPro for two steps, on a random CT-CLIP."""
    torch.manual_seed(0)
    folder = save_model(
        tmp_path / "start", kind="ct-clip", config=steps.MODEL, preprocess=PREPROCESS, labels=ABNORMALITIES,
        tensors=CTCLIP(steps.MODEL).state_dict(), tokenizer=None, licence="Theirs alone", trained=True, caution="Knows only noise.",
    )  # fmt: skip
    return ClassifierConfig(
        out=str(tmp_path / "run"), init_from=str(folder.path), steps=2, batch_size=2, eval_every=1, num_workers=0, encode_batch_size=3
    )


def volumes(cohort: Cohort) -> tuple[CohortDataset, CohortDataset]:
    return CohortDataset(cohort, split="train"), CohortDataset(cohort, split="dev")


def test_latents_of_both_splits_are_computed_once_and_are_the_encoders(config: ClassifierConfig, cohort: Cohort, tmp_path: Path) -> None:
    train, valid = volumes(cohort)
    calls: list[tuple[int, int]] = []
    run = classifier_run(config, train, valid, ALONE, encoded=lambda count, total: calls.append((count, total)))
    assert calls == sorted(calls)
    assert {total for _, total in calls} == {6}
    assert calls[-1] == (6, 6)
    clip = CTCLIP(open_model(Path(config.init_from)).config).eval()
    clip.load_state_dict(load_state_dict(open_model(Path(config.init_from))))
    with torch.no_grad():
        for index in range(4):
            latent = clip.encode_volume(train[index].read_volume()[None]).latent_BL[0]
            torch.testing.assert_close(run._data[index].features, latent, atol=1e-6, rtol=0)
            assert (run._data[index].name, run._data[index].labels_K[16]) == (f"v{index}", float(index < 1))
    assert run._data[0].labels_K[17].isnan()
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "latents").iterdir()}
    assert len(files) == 2
    classifier_run(replace(config, out=str(tmp_path / "second"), seed=1), train, valid, ALONE)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "latents").iterdir()} == files


def test_a_run_is_evaluated_and_its_folder_inherits_what_the_start_says_of_itself(config: ClassifierConfig, cohort: Cohort) -> None:
    run = classifier_run(config, *volumes(cohort), ALONE)
    scored = [step.scores for step in run.run()]
    # Of the volumes v4 and v5 each abnormality is like in both: there is no AUROC of any.
    assert scored == [{}, {}]
    folder = open_model(Path(config.out) / "model", verify=True)
    assert (folder.kind, folder.disclaimer, folder.trained) == ("ct-clip-classifier", "Knows only noise.", True)
    assert folder.licence == "Theirs alone; and that of the data it was trained on"


def test_a_disclaimer_of_the_configuration_goes_before_the_starts_and_train_is_scored_as_valid(
    config: ClassifierConfig, cohort: Cohort
) -> None:
    train, _ = volumes(cohort)
    *_, last = classifier_run(replace(config, disclaimer="Ours."), train, train, ALONE).run()
    # v0 to v3 are all positive for every fourth abnormality, which has no AUROC; nobody says of v0 and 17, all others of which have both.
    assert set(last.scores) == {"macro_auroc", *(name for number, name in enumerate(ABNORMALITIES) if number % 4 != 3)}
    assert open_model(Path(config.out) / "model").disclaimer == "Ours."


def test_without_volumes_to_evaluate_on_nothing_is_scored(config: ClassifierConfig, cohort: Cohort, tmp_path: Path) -> None:
    train, _ = volumes(cohort)
    assert [step.scores for step in classifier_run(config, train, None, ALONE).run()] == [{}, {}]
    assert len(list((tmp_path / "latents").iterdir())) == 1


@pytest.mark.parametrize(("pos_weight", "expected"), [("balanced", [3.0, 1.0, 1 / 3]), ("none", [1.0, 1.0, 1.0])])
def test_positives_weigh_as_the_configuration_says(
    pos_weight: str, expected: list[float], config: ClassifierConfig, cohort: Cohort
) -> None:
    """Of four training volumes 1, 2 and 3 have the first three abnormalities: negatives over positives is 3, 1 and 1/3."""
    run = classifier_run(replace(config, pos_weight=pos_weight), *volumes(cohort), ALONE)
    assert run.task._weights_K[:3].tolist() == pytest.approx(expected)


def test_an_encoder_that_learns_is_given_volumes_and_no_file_of_latents_is_made(
    config: ClassifierConfig, cohort: Cohort, tmp_path: Path
) -> None:
    train, valid = volumes(cohort)
    run = classifier_run(replace(config, encoder="lora", lora_rank=2), train, valid, ALONE, encoded=lambda *_: pytest.fail("encoded"))
    assert run._data is train
    list(run.run())
    assert not (tmp_path / "latents").exists()
    before = load_state_dict(open_model(Path(config.init_from)))
    after = load_state_dict(open_model(Path(config.out) / "model"))
    assert {name.removeprefix("trained_model.") for name in after if name.startswith("trained_model.")} == before.keys(), "merged"


@pytest.fixture
def scratch(config: ClassifierConfig, steps: ModuleType) -> ClassifierConfig:
    """The same encoder from random weights."""
    return replace(config, init_from="", model=steps.MODEL, encoder="full", disclaimer="Knows only noise.", eval_every=0)


def test_from_random_weights_all_but_the_text_encoder_learns(scratch: ClassifierConfig, cohort: Cohort) -> None:
    train, _ = volumes(cohort)
    run = classifier_run(scratch, train, None, ALONE, encoded=lambda *_: pytest.fail("encoded"))
    before = {name: tensor.clone() for name, tensor in run.task.network.clip.state_dict().items()}
    list(run.run())
    folder = open_model(Path(scratch.out) / "model", verify=True)
    assert (folder.kind, folder.trained, folder.disclaimer) == ("ct-clip-classifier", True, "Knows only noise.")
    assert (folder.preprocess, folder.tokenizer_sha256, folder.licence) == (PREPROCESS, None, "that of the data it was trained on")
    assert "its text encoder has learnt nothing" in (folder.path / "README.md").read_text()
    after = {name.removeprefix("trained_model."): tensor for name, tensor in load_state_dict(folder).items()}
    moved = {name.split(".")[0] for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert moved == {"visual_transformer", "to_visual_latent"}
    assert len(load(folder.path, device="cpu").detect(train[0].read_volume()[0]).probabilities) == 18


def test_random_weights_are_the_seeds(scratch: ClassifierConfig, cohort: Cohort, tmp_path: Path) -> None:
    train, _ = volumes(cohort)
    tasks = {
        name: classifier_run(replace(scratch, out=str(tmp_path / name), seed=seed), train, None, ALONE).task
        for name, seed in (("first", 3), ("again", 3), ("other", 4))
    }
    first, again, other = (task.network.state_dict() for task in tasks.values())
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())
    assert not torch.equal(first["head.classifier.weight"], other["head.classifier.weight"])
    assert not torch.equal(first["clip.to_visual_latent.weight"], other["clip.to_visual_latent.weight"])


def test_a_run_from_random_weights_resumes_to_the_bit(scratch: ClassifierConfig, cohort: Cohort, tmp_path: Path) -> None:
    train, _ = volumes(cohort)

    def run(name: str, *, resume: bool = False) -> Trainer:
        config = replace(scratch, out=str(tmp_path / name), steps=4, save_every=1)
        return classifier_run(config, train, None, ALONE, resume=resume)

    list(run("whole").run())
    next(run("parts").run())
    list(run("parts", resume=True).run())
    whole, parts = (load_state_dict(open_model(tmp_path / name / "model")) for name in ("whole", "parts"))
    assert all(torch.equal(tensor, parts[name]) for name, tensor in whole.items())


def test_sizes_that_the_volumes_do_not_have_are_refused(scratch: ClassifierConfig, steps: ModuleType, cohort: Cohort) -> None:
    longer = replace(scratch, model=replace(steps.MODEL, n_frames=40))
    with pytest.raises(InputError, match=r"of \(20, 40, 40\), but the model takes \(40, 40, 40\)"):
        classifier_run(longer, volumes(cohort)[0], None, ALONE)
    assert not Path(scratch.out).exists()


def test_starts_that_do_not_fit_are_refused_before_a_folder_is_made(config: ClassifierConfig, cohort: Cohort, tmp_path: Path) -> None:
    train, valid = volumes(cohort)
    with pytest.raises(InputError, match="has slices to attend to"):
        classifier_run(replace(config, head="attention"), train, valid, ALONE)
    others = write_cohort(tmp_path / "others", replace(PREPROCESS, spacing=(3.0, 3.0, 3.0)))
    with pytest.raises(InputError, match="made for another preprocessing"):
        classifier_run(config, *volumes(others), ALONE)
    assert not Path(config.out).exists()


@pytest.mark.parametrize("settings", [{}, {"slice_pool": "attention"}, {"encoder": "lora", "lora_rank": 2}])
def test_a_run_goes_on_from_the_weights_that_it_was_begun_from_and_no_others(
    settings: dict[str, object], config: ClassifierConfig, cohort: Cohort, tmp_path: Path
) -> None:
    train, _ = volumes(cohort)
    begun = replace(config, eval_every=0, save_every=1, **settings)
    next(classifier_run(begun, train, None, ALONE).run())
    start, weights = Path(config.init_from), Path(config.init_from) / "model.safetensors"
    moved = start.rename(tmp_path / "moved")
    list(classifier_run(replace(begun, init_from=str(moved)), train, None, ALONE, resume=True).run())
    trained = open_model(moved)
    tensors = {name: tensor + 1 for name, tensor in load_state_dict(trained).items()}
    save_model(
        start, kind="ct-clip", config=trained.config, preprocess=PREPROCESS, labels=ABNORMALITIES, tensors=tensors, tokenizer=None,
        licence="-", trained=True,
    )  # fmt: skip
    assert weights.is_file()
    latents = sorted((tmp_path / "latents").glob("*"))
    with pytest.raises(InputError, match="is not the model that run was begun from"):
        classifier_run(begun, train, None, ALONE, resume=True)
    assert sorted((tmp_path / "latents").glob("*")) == latents, "nothing was encoded"
