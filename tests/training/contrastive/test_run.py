"""Runs on pairs: a vocabulary of their own or a pretrained encoder's, bit-equal when stopped and resumed, and a folder that detects."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.models.tiny_configs import CONFIGS
from tests.training.cohorts import write_cohort
from tests.training.memory_volumes import MemoryVolume, stack
from thoracle.cohort.samples.augment import Augmentation
from thoracle.cohort.samples.dataset import CohortDataset, Sample
from thoracle.ct.preprocess import Preprocessing
from thoracle.ct.recipes.published import COLIPRI, MERLIN
from thoracle.errors import CapabilityMissing, InputError
from thoracle.inference.explain import saliency
from thoracle.inference.model import load
from thoracle.models.bundle.model_folder import load_state_dict, open_model, save_model
from thoracle.models.citations import CT_CLIP, MEDFINDER
from thoracle.models.common.prompts import format_prompts
from thoracle.models.registry import REGISTRY
from thoracle.models.text.classifier import TextClassifier
from thoracle.models.text.config import TextConfig
from thoracle.models.text.encoder import BertEncoder
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.training.contrastive.ctclip import ContrastiveConfig
from thoracle.training.contrastive.medfinder import MedFinderRunConfig, MedFinderTask
from thoracle.training.contrastive.run import contrastive_run, medfinder_run
from thoracle.training.contrastive.zero_shot_eval import ZeroShotEvaluator
from thoracle.training.engine.config import OptimizerConfig
from thoracle.training.engine.distributed import World
from thoracle.types import ABNORMALITIES

ALONE = World(rank=0, size=1, device=torch.device("cpu"))
STRONG = Augmentation(probability=1.0, rotation=0.3, zoom=0.2, shift=0.1, noise=0.3)
STEPS = 4


class Pairs:
    """Eight pairs of noise."""

    def __len__(self) -> int:
        return 8

    def set_epoch(self, epoch: int) -> None: ...

    def stored_volume(self, index: int, epoch: int) -> MemoryVolume:
        return MemoryVolume(torch.randn(1, 20, 40, 40, generator=torch.Generator().manual_seed(index)).clamp(-1, 1))

    def __getitem__(self, index: int) -> Sample:
        stored = self.stored_volume(index, 0)
        labels = (torch.arange(18) % 8 == index).float()
        report = f"There is {ABNORMALITIES[index].lower()}."
        return Sample(stored=stored, report=report, labels=labels, volume=f"train_{index}", scan=str(index), patient=str(index))


@pytest.fixture
def config(steps: ModuleType, tmp_path: Path) -> MedFinderRunConfig:
    """Views that change, dropout, gradient caching, a warm-up: whatever a resumed run could get wrong."""
    text = replace(steps.MODEL.bert, vocab_size=256, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)
    return replace(
        steps.FINDER,
        model=replace(steps.FINDER.model, bert=text),
        augmentation=STRONG,
        out=str(tmp_path / "run"),
        steps=STEPS,
        batch_size=4,
        gradient_cache_chunk=2,
        save_every=1,
        optimizer=OptimizerConfig(lr=1e-3, warmup_steps=2, weight_decay=0.1),
    )


def train(config: MedFinderRunConfig, *, resume: bool = False, until: int = STEPS, **more: Any) -> list[float]:
    words = [Pairs()[index].report for index in range(8)]
    trainer = medfinder_run(config, Pairs(), ALONE, words=lambda: words, resume=resume, **more)
    losses = []
    for progress in trainer.run():
        losses.append(progress.loss)
        if progress.step == until and until < STEPS:
            break
    return losses


IMAGES: dict[str, tuple[Any, Preprocessing]] = {
    "colipri": (
        replace(CONFIGS["colipri"], input_shape=(20, 40, 40), patch_size=(10, 10, 10)),
        replace(COLIPRI, fit=replace(COLIPRI.fit, size=(20, 40, 40))),
    ),
    "merlin": (CONFIGS["merlin"], replace(MERLIN, fit=replace(MERLIN.fit, size=(20, 40, 40)))),
}


@pytest.fixture
def pair_config(steps: ModuleType, tmp_path: Path) -> ContrastiveConfig:
    """One step of CT-CLIP, with room for the words of all prompts."""
    model = replace(steps.MODEL, bert=replace(steps.MODEL.bert, vocab_size=256))
    return replace(steps.CONFIG, model=model, out=str(tmp_path / "pairs"), steps=1, batch_size=4, max_text_tokens=7)


def test_a_vocabulary_is_made_of_the_texts_and_the_prompts_and_stays_the_runs(pair_config: ContrastiveConfig) -> None:
    texts = ["Zymurgy is not seen."]
    trainer = contrastive_run(pair_config, Pairs(), ALONE, words=lambda: texts)
    expected = Tokenizer.from_words([*texts, *format_prompts()]).fingerprint
    assert Tokenizer.from_folder(Path(pair_config.out) / "tokenizer").fingerprint == expected
    list(trainer.run())
    resumed = contrastive_run(pair_config, Pairs(), ALONE, words=lambda: pytest.fail("it has words"), resume=True)
    assert resumed.task.tokenizer.fingerprint == expected
    assert resumed.done == 1
    assert open_model(Path(pair_config.out) / "model").tokenizer().fingerprint == expected


def test_a_cohort_is_trained_on_to_the_bit_as_if_its_volumes_were_in_memory(pair_config: ContrastiveConfig, tmp_path: Path) -> None:
    """Read ahead or not, twice or not, augmented, over two epochs; a stop and a resume among them."""
    cohort = write_cohort(tmp_path / "cohort", pair_config.preprocess, volumes=10)
    data = CohortDataset(cohort, split="train", augmentation=STRONG, seed=2)

    class InMemory:
        """The same samples, whose volumes were read as an epoch begins."""

        def __len__(self) -> int:
            return len(data)

        def set_epoch(self, epoch: int) -> None:
            data.set_epoch(epoch)

        def __getitem__(self, index: int) -> Sample:
            return data[index]

        def stored_volume(self, index: int, epoch: int) -> MemoryVolume:
            before = int(data._epoch)
            data.set_epoch(epoch)
            volume = data[index].read_volume()
            data.set_epoch(before)
            return MemoryVolume(volume)

    def run(name: str, pairs: Any, **settings: Any) -> dict[str, Tensor]:
        config = replace(pair_config, out=str(tmp_path / name), steps=4, batch_size=4, save_every=1, max_text_tokens=16, **settings)
        for step in contrastive_run(config, pairs, ALONE, words=lambda: ["lung nodule"]).run():
            if step.step == 3 and "stopped" in name:
                break
        if "stopped" in name:
            list(contrastive_run(config, pairs, ALONE, words=list, resume=True).run())
        return load_state_dict(open_model(tmp_path / name / "model"))

    for chunk in (0, 2):
        expected = run(f"memory {chunk}", InMemory(), gradient_cache_chunk=chunk, num_workers=0)
        for name, workers in (("inline", 0), ("ahead", 3), ("stopped", 3)):
            got = run(f"{name} {chunk}", data, gradient_cache_chunk=chunk, num_workers=workers)
            assert all(torch.equal(tensor, got[key]) for key, tensor in expected.items()), (name, chunk)


def test_a_model_without_a_codebook_trains_in_chunks_and_resumes(pair_config: ContrastiveConfig, tmp_path: Path) -> None:
    model = replace(pair_config.model, ctvit=replace(pair_config.model.ctvit, quantize=False))
    config = replace(pair_config, model=model, steps=2, save_every=1, gradient_cache_chunk=2, codebook_sync=False)

    def run(name: str, stop: int) -> dict[str, Tensor]:
        named = replace(config, out=str(tmp_path / name))
        for step in contrastive_run(named, Pairs(), ALONE, words=lambda: ["nodule"]).run():
            if step.step == stop < config.steps:
                break
        if stop < config.steps:
            list(contrastive_run(named, Pairs(), ALONE, words=list, resume=True).run())
        return load_state_dict(open_model(tmp_path / name / "model"))

    expected, resumed = run("whole", 2), run("stopped", 1)
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in expected.items())
    assert not [name for name in expected if ".vq." in name]


def test_reports_are_cut_to_the_tokens_of_the_configuration_and_counted(
    pair_config: ContrastiveConfig, caplog: pytest.LogCaptureFixture
) -> None:
    texts = ["nodule", *(Pairs()[index].report for index in range(8))]
    trainer = contrastive_run(pair_config, Pairs(), ALONE, words=lambda: texts)
    assert "2 of 9 reports are longer than 7 tokens" in caplog.text, "of three and four words, two more and a stop and two marks around"
    samples = [Pairs()[index] for index in range(4)]
    batch = trainer._collate(samples, stack(samples))
    lengths = Tokenizer.from_folder(Path(pair_config.out) / "tokenizer").encode([Pairs()[index].report for index in range(4)])
    assert lengths.input_ids_BN.shape[1] > 7
    assert batch.input_ids_BN.shape == (4, 7)
    assert batch.names == ("train_0", "train_1", "train_2", "train_3")
    assert batch.identity_B2.unique().numel() == 8, "four scans and four texts"
    samples = [Pairs()[0], replace(Pairs()[1], scan="0"), replace(Pairs()[2], report=Pairs()[0].report)]
    twice = trainer._collate(samples, stack(samples)).identity_B2
    assert (twice[:, None] == twice).any(dim=-1).tolist() == [[True, True, True], [True, True, False], [True, False, True]]


def test_more_words_than_a_ct_clip_has_are_refused(pair_config: ContrastiveConfig) -> None:
    small = replace(pair_config, model=replace(pair_config.model, bert=replace(pair_config.model.bert, vocab_size=64)))
    with pytest.raises(InputError, match="vocab_size is 64"):
        contrastive_run(small, Pairs(), ALONE, words=list)


@pytest.mark.parametrize("kind", IMAGES)
@pytest.mark.parametrize("locked", ["none", "image", "text"])
def test_another_models_image_side_is_gone_on_from(kind: str, locked: str, pair_config: ContrastiveConfig, tmp_path: Path) -> None:
    """Stopped and resumed to the bit; what is locked stays to the bit; the folder detects in words and keeps the recipe."""
    sizes, recipe = IMAGES[kind]
    torch.manual_seed(5)
    encoder, bert = REGISTRY[kind].build(sizes), replace(pair_config.model.bert, hidden_dropout_prob=0.1)
    words = Tokenizer.from_words([*format_prompts(), *(Pairs()[index].report for index in range(8))])
    start = save_model(
        tmp_path / "start", kind=kind, config=sizes, preprocess=recipe, labels=REGISTRY[kind].labels(sizes), tensors=encoder.state_dict(),
        tokenizer=words if REGISTRY[kind].text_rules else None, licence="MIT", trained=True, caution="Of noise.",
    )  # fmt: skip
    text = BertEncoder(bert)
    torch.save(text.state_dict(), tmp_path / "bert.bin")
    config = replace(
        pair_config, model=replace(pair_config.model, bert=bert), preprocess=recipe, init_image_encoder=str(start.path), locked=locked,
        init_text_encoder=str(tmp_path / "bert.bin"), gradient_cache_chunk=2, steps=3, save_every=1, max_text_tokens=16,
    )  # fmt: skip

    def run(name: str, *, until: int = 3, resume: bool = False) -> dict[str, Tensor]:
        run_config = replace(config, out=str(tmp_path / name))
        for step in contrastive_run(run_config, Pairs(), ALONE, words=lambda: [Pairs()[0].report], resume=resume).run():
            if step.step == until < 3:
                return {}
        return load_state_dict(open_model(tmp_path / name / "model"))

    expected = run("whole")
    run("stopped", until=2)
    torch.manual_seed(7)
    again = run("stopped", resume=True)
    assert all(torch.equal(tensor, again[name]) for name, tensor in expected.items())
    image = [torch.equal(expected[f"encoder.{name}"], tensor) for name, tensor in encoder.state_dict().items()]
    read = [torch.equal(expected[f"text_transformer.{name}"], tensor) for name, tensor in text.state_dict().items() if "pooler" not in name]
    assert all(image) == (locked == "image")
    assert all(read) == (locked == "text")
    model = load(tmp_path / "whole" / "model", device="cpu")
    assert (model.folder.kind, model.preprocess, model.folder.disclaimer) == ("image-text", recipe, "Of noise.")
    assert model.folder.licence.startswith("MIT")
    assert len(model.detect(Pairs()[0].read_volume()[0], abnormalities=["Gout"]).probabilities) == 1


def _reader(folder: Path, sizes: TextConfig) -> Path:
    """A report classifier of somebody's, who is to be cited."""
    words = Tokenizer.from_words([*format_prompts(), *(Pairs()[index].report for index in range(8))])
    save_model(
        folder, kind="text-classifier", config=sizes, preprocess=None, labels=ABNORMALITIES, tokenizer=words, trained=True,
        tensors=TextClassifier(sizes, n_labels=18).state_dict(), licence="Readers alone", citations=["Reader 2026"], caution="Read noise.",
    )  # fmt: skip
    return folder


def test_terms_and_caution_of_all_that_a_run_begins_with_go_along(pair_config: ContrastiveConfig, tmp_path: Path) -> None:
    text = str(_reader(tmp_path / "reader", pair_config.model.bert))
    pair_config = replace(pair_config, init_text_encoder=text, steps=1)
    list(contrastive_run(pair_config, Pairs(), ALONE, words=list).run())
    first = open_model(Path(pair_config.out) / "model")
    assert first.licence == "Readers alone; and that of the data it was trained on"
    assert (first.citations, first.disclaimer) == (("Reader 2026", CT_CLIP), "Read noise.")
    whole = replace(pair_config, init_from=str(first.path), init_text_encoder="", out=str(tmp_path / "whole"))
    list(contrastive_run(whole, Pairs(), ALONE, words=list).run())
    second = open_model(tmp_path / "whole" / "model")
    assert (second.licence, second.citations, second.disclaimer) == (first.licence, first.citations, first.disclaimer)
    sizes, recipe = IMAGES["merlin"]
    image = save_model(
        tmp_path / "image", kind="merlin", config=sizes, preprocess=recipe, labels=REGISTRY["merlin"].labels(sizes), licence="MIT",
        tensors=REGISTRY["merlin"].build(sizes).state_dict(), tokenizer=None, trained=True, caution="Of noise.",
    )  # fmt: skip
    pair = replace(pair_config, preprocess=recipe, init_image_encoder=str(image.path), out=str(tmp_path / "pair"))
    list(contrastive_run(pair, Pairs(), ALONE, words=list).run())
    both = open_model(tmp_path / "pair" / "model")
    assert both.licence == "MIT; and Readers alone; and that of the data it was trained on"
    assert both.citations == (*image.citations, "Reader 2026", CT_CLIP)
    assert both.disclaimer == "Of noise. Read noise."


def test_a_medfinders_text_encoder_brings_its_terms(config: MedFinderRunConfig, tmp_path: Path) -> None:
    train(replace(config, text=str(_reader(tmp_path / "reader", config.model.bert)), steps=1))
    folder = open_model(Path(config.out) / "model")
    assert folder.licence == "Readers alone; and that of the data it was trained on"
    assert folder.citations == ("Reader 2026", CT_CLIP, MEDFINDER)
    assert folder.disclaimer == "Read noise."


def test_what_contradicts_another_models_image_side_is_refused(pair_config: ContrastiveConfig) -> None:
    for changes, words in (
        ({"locked": "image"}, "would stay random"),
        ({"locked": "text"}, "would stay random"),
        ({"init_image_encoder": "model", "init_from": "model"}, "a model of another kind"),
    ):
        with pytest.raises(InputError, match=words):
            replace(pair_config, **changes)


def test_stopped_at_any_step_and_resumed_the_weights_are_bit_equal(config: MedFinderRunConfig, tmp_path: Path) -> None:
    whole = train(config)
    expected = _weights(config)
    for stop in range(1, STEPS):
        again = replace(config, out=str(tmp_path / f"stopped {stop}"))
        torch.manual_seed(99)
        before = train(again, until=stop)
        torch.manual_seed(98)
        assert [*before, *train(again, resume=True)] == whole
        assert all(torch.equal(tensor, expected[name]) for name, tensor in _weights(again).items())


def test_the_folder_detects_embeds_and_says_what_it_cannot_do(config: MedFinderRunConfig) -> None:
    scored: list[dict[str, float]] = []

    def evaluate(task: MedFinderTask) -> Any:
        score = ZeroShotEvaluator(task, Pairs(), batch=4)
        return lambda: scored.append(dict(score())) or scored[-1]

    train(replace(config, eval_every=2), evaluate=evaluate)
    assert [sorted(scores)[-1] for scores in scored] == ["macro_auroc"] * 2
    model, volume = load(Path(config.out) / "model"), Pairs()[0].read_volume()[0]
    findings = model.detect(volume)
    assert findings.abnormalities == ABNORMALITIES
    assert findings.model_kind == "medfinder"
    encoded = model.encode_volume(volume)
    assert encoded.latent_BL.shape == (1, model.dim_latent) == (1, 16)
    assert torch.equal(model.encode_volume(volume).latent_BL, encoded.latent_BL)
    assert model.encode_text(["There is emphysema."]).shape == (1, 16)
    tokens = model.encode_tokens(volume)
    assert torch.equal(tokens.tokens, encoded.tokens)
    assert tokens.codes is None, "it has no codebook"
    with pytest.raises(CapabilityMissing, match="tokens can be looked at"):
        saliency(model, volume, abnormalities=ABNORMALITIES[:1], method="gradient")
    assert load(Path(config.out) / "model", dtype="bf16").check_precision(volume).equal_codes is None


def test_a_pretrained_text_encoder_stays_as_it_came(config: MedFinderRunConfig, tmp_path: Path) -> None:
    """As open_clip writes BiomedCLIP: the text tower under a prefix, beside an image tower, and no config.json."""
    folder, sizes = tmp_path / "biomedclip", replace(config.model.bert, hidden_size=64, num_attention_heads=1)
    folder.mkdir()
    torch.manual_seed(3)
    text = BertEncoder(sizes).state_dict()
    towers = {**{f"text.transformer.{name}": tensor for name, tensor in text.items()}, "visual.trunk.cls_token": torch.zeros(1, 1, 8)}
    torch.save(towers, folder / "open_clip_pytorch_model.bin")
    (folder / "vocab.txt").write_bytes(Tokenizer.from_words(["There is an opacity"]).files["vocab.txt"])
    train(replace(config, text=str(folder), freeze_text_encoder=True))
    weights = _weights(config)
    assert all(torch.equal(weights[f"text_transformer.{name}"], tensor) for name, tensor in text.items())
    assert open_model(Path(config.out) / "model").config.bert.hidden_size == 64
    before = MedFinderRunConfig(**{**vars(config), "out": str(tmp_path / "short"), "text": str(folder), "steps": 1, "batch_size": 4})
    train(before)
    assert not torch.equal(_weights(before)["to_text_latent.weight"], weights["to_text_latent.weight"])


def test_more_words_than_the_text_encoder_has_are_refused(config: MedFinderRunConfig) -> None:
    small = replace(config, model=replace(config.model, bert=replace(config.model.bert, vocab_size=64)))
    with pytest.raises(InputError, match="vocab_size is 64"):
        train(small)


def _weights(config: MedFinderRunConfig) -> dict[str, Tensor]:
    return load_state_dict(open_model(Path(config.out) / "model", verify=True))
