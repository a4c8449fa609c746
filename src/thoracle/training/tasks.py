"""List the configurations of `thoracle train`, by verb."""

from __future__ import annotations

from typing import Final

from thoracle.training.chat.task import ChatConfig
from thoracle.training.contrastive.ctclip import ContrastiveConfig
from thoracle.training.contrastive.medfinder import MedFinderRunConfig
from thoracle.training.engine.config import RunConfig
from thoracle.training.finetuning.config import ClassifierConfig
from thoracle.training.finetuning.distillation import DistillationConfig
from thoracle.training.finetuning.vocabfine import VocabFineConfig
from thoracle.training.labeler.task import LabelerConfig

TASKS: Final[dict[str, type[RunConfig]]] = {
    cls.TASK: cls
    for cls in (ContrastiveConfig, MedFinderRunConfig, VocabFineConfig, ClassifierConfig, DistillationConfig, LabelerConfig, ChatConfig)
}
