"""Build what a labeler run begins with: a random network, a report classifier, or a pretrained text encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from thoracle.errors import InputError
from thoracle.models.bundle.pretrained_text import PretrainedText, load_pretrained_text
from thoracle.models.text.classifier import TextClassifier
from thoracle.models.text.config import TextConfig
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.training.labeler.task import LabelerConfig
from thoracle.types import ABNORMALITIES


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelerStart:
    """Hold the sizes, the tokenizer and the weights of a labeler before its first step, and what these come from, where not at random."""

    sizes: TextConfig
    tokenizer: Tokenizer
    weights: Mapping[str, Tensor]
    pretrained: PretrainedText | None = None

    def network(self) -> TextClassifier:
        """Build the labeler. Weights that are not pretrained are random, by torch's generator."""
        network = TextClassifier(self.sizes, n_labels=len(ABNORMALITIES))
        network.load_state_dict({**network.state_dict(), **self.weights})
        return network


def initialize_text(config: LabelerConfig, words: Callable[[], Sequence[str]]) -> LabelerStart:
    """Load or invent what the configuration names.

    Args:
        config: of the run.
        words: gives the texts of whose words a vocabulary is made, where nothing else has one.

    Raises:
        InputError: `init_from` is neither, or the vocabulary is larger than `model`.
        ModelError: it is damaged, incomplete or lacks its tokenizer.
    """
    if not config.init_from:
        tokenizer = Tokenizer.from_words(words())
        if tokenizer.vocab_size > config.model.vocab_size:
            detail = f"the reports have {tokenizer.vocab_size} words and letters, the model's vocab_size is {config.model.vocab_size}"
            raise InputError(detail, hint="Raise model.vocab_size.", source="config")
        return LabelerStart(sizes=config.model, tokenizer=tokenizer, weights={})
    pretrained = load_pretrained_text(Path(config.init_from))
    sizes, tokenizer = pretrained.described()
    weights = {f"model.{name}": tensor for name, tensor in pretrained.weights.items()} | dict(pretrained.head)
    return LabelerStart(sizes=sizes, tokenizer=tokenizer, weights=weights, pretrained=pretrained)
