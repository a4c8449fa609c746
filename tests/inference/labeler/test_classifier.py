from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from thoracle.errors import CapabilityMissing, InputError, ModelFolderInvalid, TokenizerMissing
from thoracle.inference.labeler.backends import open_labeller
from thoracle.inference.labeler.classifier import AutoLabeller, ClassifierLabeller
from thoracle.inference.labeler.decision import AS_PUBLISHED, LabelerDecisionRule, save_decision_rule
from thoracle.inference.labeler.rules import RuleLabeller
from thoracle.inference.labeler.vocabulary import fingerprint
from thoracle.models.bundle.import_published import import_checkpoint
from thoracle.models.bundle.model_folder import LABELLING
from thoracle.models.citations import CT_CLIP
from thoracle.models.encoder import EncodedText
from thoracle.types import ABNORMALITIES

_WORDS = {word: row for row, word in enumerate(("<s>", "<pad>", "</s>", "<unk>", "<mask>", "a", "n", "e"))}
_NODULE = ABNORMALITIES.index("Lung nodule")


@pytest.fixture
def published(golden_dir: Path, tmp_path: Path) -> Path:
    """The published file's layout, with a tokenizer of RoBERTa's kind."""
    words = tmp_path / "words"
    words.mkdir()
    (words / "vocab.json").write_text(json.dumps(_WORDS))
    (words / "merges.txt").write_text("#version: 0.2\n")
    source = golden_dir / "published"
    config = {**json.loads((source / "text_classifier_config.json").read_text()), "position_scheme": "roberta"}
    import_checkpoint(source / "text_classifier_checkpoint.pth", out=tmp_path / "model", config=config, tokenizer=words)
    return tmp_path / "model"


def labelling(folder: Path, **of_nodule: float) -> LabelerDecisionRule:
    decisions = dict.fromkeys(ABNORMALITIES, replace(AS_PUBLISHED, f1_classifier=0.5, f1_rules=0.9))
    decisions["Lung nodule"] = replace(AS_PUBLISHED, **of_nodule)
    weights = ClassifierLabeller(folder).folder.weights_sha256
    return LabelerDecisionRule(weights_sha256=weights, rules=fingerprint(), fitted_on="20 reports", decisions=decisions)


def test_published_files_give_published_logits(published: Path, golden_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = load_file(golden_dir / "published" / "text_classifier_expected.safetensors")
    given = EncodedText(input_ids_BN=expected["input_ids"], attention_mask_BN=expected["attention_mask"])
    labeller = ClassifierLabeller(published)
    monkeypatch.setattr(type(labeller._tokenizer), "encode", lambda *_, **__: given)
    torch.testing.assert_close(labeller.logits(["report"] * len(expected["logits"])), expected["logits"], atol=1e-5, rtol=1e-4)


def test_without_fitted_thresholds_a_logit_above_nought_is_stated(published: Path) -> None:
    labeller = ClassifierLabeller(published)
    assert labeller.settings()["licence"].startswith("CC BY-NC-SA 4.0")
    assert labeller.settings()["citations"] == [CT_CLIP]
    report, nothing = "A nodule is seen in the lingula.", " "
    found, unknown = labeller.label([report, nothing])
    assert unknown.unknown == "no text"
    assert found.values == tuple(int(logit >= 0) for logit in labeller.logits([report])[0].tolist())
    assert found.scores is not None
    assert found.evidence == RuleLabeller().label([report])[0].evidence


def test_auto_takes_the_better_of_both_for_each_label(published: Path) -> None:
    report = "Pleural effusion on the left, and the lungs are clear."
    # A classifier that is always sure of a nodule, once better and once worse than rules.
    sure = {"offset": 50.0, "logit": 0.0, "threshold": 0.5}
    save_decision_rule(published, labelling(published, **sure, f1_classifier=0.95, f1_rules=0.9))
    (better,) = open_labeller("auto", model=published).label([report])
    save_decision_rule(published, labelling(published, **sure, f1_classifier=0.9, f1_rules=0.9))
    (worse,) = open_labeller("auto", model=published).label([report])
    assert (better.values[_NODULE], worse.values[_NODULE]) == (1, 0)
    assert worse.values == RuleLabeller().label([report])[0].values


def test_thresholds_are_of_one_classifier(published: Path) -> None:
    with pytest.raises(InputError, match="not been compared"):
        AutoLabeller(ClassifierLabeller(published))
    save_decision_rule(published, replace(labelling(published), weights_sha256="0"))
    with pytest.raises(ModelFolderInvalid, match="other weights"):
        ClassifierLabeller(published)
    (published / LABELLING).write_text("{")
    with pytest.raises(ModelFolderInvalid, match="is no labelling"):
        ClassifierLabeller(published)


def test_another_kind_of_model_is_refused(model_dir: Path) -> None:
    with pytest.raises(CapabilityMissing, match="not a classifier of the 18"):
        ClassifierLabeller(model_dir)


def test_without_its_tokenizer_no_word_is_read(golden_dir: Path, tmp_path: Path) -> None:
    import_checkpoint(golden_dir / "published" / "text_classifier_checkpoint.pth", out=tmp_path / "model")
    with pytest.raises(TokenizerMissing):
        ClassifierLabeller(tmp_path / "model")


def test_a_backend_says_what_it_needs() -> None:
    for backend, model in (("classifier", None), ("llm", None), ("oracle", None)):
        with pytest.raises(InputError):
            open_labeller(backend, model=model)
    assert open_labeller("auto").name == "rules"


def test_a_text_longer_than_the_network_reads_is_read_in_windows(published: Path) -> None:
    labeller = ClassifierLabeller(published)
    report = "A nodule is seen in the lingula and the lungs are clear. " * 40
    (labels,) = labeller.label([report])
    parts = labeller._tokenizer.windows(report, max_length=labeller._length)
    assert labels.windows == len(parts) > 1
    torch.testing.assert_close(labeller.logits([report])[0], torch.stack([labeller.logits([part])[0] for part in parts]).amax(dim=0))
    (short,) = labeller.label(["A nodule is seen."])
    assert short.windows == 1
