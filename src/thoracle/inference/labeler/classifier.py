"""The `classifier` backend: a trained network reads the report, and the rules are asked beside it where that was found to help.

`AutoLabeller` takes for each abnormality whichever of the two did better on reports that neither was fitted on.

Shapes: B reports, N tokens, K abnormalities.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, cast

import torch
from torch import Tensor

from thoracle.errors import CapabilityMissing, InputError, TokenizerMissing
from thoracle.inference.labeler.decision import AS_PUBLISHED, read_decision_rule
from thoracle.inference.labeler.evidence import Labels
from thoracle.inference.labeler.rules import RuleLabeller
from thoracle.inference.labeler.vocabulary import fingerprint
from thoracle.models.bundle.model_folder import load_state_dict, open_model
from thoracle.models.text.classifier import TextClassifier
from thoracle.models.text.config import TextConfig
from thoracle.models.text.spec import TEXT_CLASSIFIER
from thoracle.types import ABNORMALITIES

#: Published training and inference read so many tokens.
MOST_TOKENS: Final = 512
_AT_ONCE: Final = 16
_log = logging.getLogger(__name__)


class ClassifierLabeller:
    """Label reports by a classifier: RadBERT as published, or one trained here.

    Args:
        folder: of a model of kind "text-classifier".

    Raises:
        CapabilityMissing: another kind of model.
        TokenizerMissing: it has none, or another model's.
        ModelFolderInvalid: the folder is damaged.
    """

    name: Final = "classifier"
    parallel: Final = False

    def __init__(self, folder: Path) -> None:
        self.folder = open_model(folder, verify=True)
        config: TextConfig = self.folder.config
        if self.folder.spec is not TEXT_CLASSIFIER or self.folder.labels != ABNORMALITIES:
            detail = f"is {self.folder.spec.title}, not a classifier of the 18 abnormalities"
            raise CapabilityMissing(detail, hint="Give one that `thoracle train labeler` or `thoracle import` made.", source=folder)
        self._tokenizer = self.folder.tokenizer()
        if self._tokenizer.vocab_size > config.vocab_size:
            detail = (
                f"the tokenizer has {self._tokenizer.vocab_size:,} tokens, the model knows {config.vocab_size:,}: it is another model's"
            )
            raise TokenizerMissing(detail, hint="Import the model again with --tokenizer and its own.", source=folder)
        with torch.device("meta"):
            self._network = TextClassifier(config, n_labels=len(ABNORMALITIES))
        self._network.load_state_dict(load_state_dict(self.folder), assign=True)
        self._network.eval().requires_grad_(False)
        self._length = min(MOST_TOKENS, config.max_tokens)
        self._rules = RuleLabeller()
        self.labelling = read_decision_rule(folder, weights_sha256=self.folder.weights_sha256)
        if self.labelling is not None and self.labelling.rules != fingerprint():
            _log.warning("%s was fitted with other rules than these; its figures are of those", folder)

    def settings(self) -> dict[str, Any]:
        """Return its weights, their licence and papers, its rules and how they are combined."""
        return {
            "model": self.folder.weights_sha256,
            "trained": self.folder.trained,
            "licence": self.folder.licence,
            "citations": list(self.folder.citations),
            "labelling": None if self.labelling is None else self.labelling.as_dict(),
            **self._rules.settings(),
        }

    def label(self, reports: Sequence[str]) -> list[Labels]:
        """Label each report; evidence is that of the rules, scores are the classifier's."""
        by_rules = self._rules.label(reports)
        readable = [row for row, labels in enumerate(by_rules) if not labels.unknown]
        windows = [self._tokenizer.windows(reports[row], max_length=self._length) for row in readable]
        logits = self._window_logits(windows)
        for row_index, row, parts in zip(readable, logits.tolist(), windows, strict=True):
            by_rules[row_index] = replace(self._decided(by_rules[row_index], row), windows=len(parts))
        return by_rules

    def logits(self, reports: Sequence[str]) -> Tensor:
        """Return (len(reports), K), in order; of a text longer than the network reads at once, the largest of its windows."""
        return self._window_logits([self._tokenizer.windows(report, max_length=self._length) for report in reports])

    def _window_logits(self, windows: Sequence[Sequence[str]]) -> Tensor:
        logits_NK = self._encoded_logits([window for parts in windows for window in parts])
        return (
            torch.stack([part.amax(dim=0) for part in torch.split(logits_NK, [len(parts) for parts in windows])]) if windows else logits_NK
        )

    def _encoded_logits(self, reports: Sequence[str]) -> Tensor:
        """Texts of similar length are read together."""
        logits_NK = torch.zeros(len(reports), len(ABNORMALITIES))
        order = sorted(range(len(reports)), key=lambda row: len(reports[row]))
        for at in range(0, len(order), _AT_ONCE):
            rows = order[at : at + _AT_ONCE]
            encoded = self._tokenizer.encode([reports[row] for row in rows], max_length=self._length)
            with torch.inference_mode():
                logits_NK[rows] = self._network(encoded.input_ids_BN, encoded.attention_mask_BN)
        return logits_NK

    def _decided(self, labels: Labels, logits: Sequence[float]) -> Labels:
        decisions = [AS_PUBLISHED if self.labelling is None else self.labelling.decisions[name] for name in ABNORMALITIES]
        rules = cast(tuple[int, ...], labels.values)
        scores = tuple(d.probability(logit, rule) for d, logit, rule in zip(decisions, logits, rules, strict=True))
        values = tuple(int(score >= d.threshold) for d, score in zip(decisions, scores, strict=True))
        return replace(labels, values=values, scores=scores)


class AutoLabeller:
    """Label each abnormality by the better of a classifier and the rules.

    Raises:
        InputError: the two have not been compared.
    """

    name: Final = "auto"
    parallel: Final = False

    def __init__(self, classifier: ClassifierLabeller) -> None:
        if classifier.labelling is None:
            raise InputError(
                "this classifier has not been compared with the rules",
                hint="Compare them with `thoracle evaluate labeler --backend classifier --save-decision-rule`,"
                " or give --backend classifier.",
                source=classifier.folder.path,
            )
        decisions = classifier.labelling.decisions
        self.by_classifier = tuple(decisions[name].f1_classifier > decisions[name].f1_rules for name in ABNORMALITIES)
        self._classifier, self._rules = classifier, RuleLabeller()

    def settings(self) -> dict[str, Any]:
        """Return the settings of its classifier."""
        return self._classifier.settings()

    def label(self, reports: Sequence[str]) -> list[Labels]:
        """Label each report."""
        pairs = zip(self._classifier.label(reports), self._rules.label(reports), strict=True)
        return [self._better(ours, ruled) for ours, ruled in pairs]

    def _better(self, ours: Labels, ruled: Labels) -> Labels:
        chosen = zip(self.by_classifier, ours.values, ruled.values, strict=True)
        return replace(ours, values=tuple(mine if better else rule for better, mine, rule in chosen))
