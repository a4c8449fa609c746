"""Distillation: a smaller image encoder learns the latents that a CT-CLIP gives the same volumes (a student, as DistilBERT's of BERT).

The student keeps the teacher's text encoder and logit scale, for its latents lie in the same space: it is prompted and searched as the
teacher is. No label and no report is needed.

Shapes: B volumes, V in all, L latent width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from thoracle.config_reader import PositiveInt
from thoracle.errors import InputError
from thoracle.models.bundle.model_folder import ModelFolder, load_state_dict
from thoracle.models.ctclip.config import CTCLIPConfig, CTViTConfig
from thoracle.models.ctclip.model import CTCLIP
from thoracle.training.contrastive.dual_encoder import DualEncoderTask
from thoracle.training.engine.config import RunConfig
from thoracle.training.engine.distributed import World
from thoracle.training.engine.single_loss import accumulate_losses
from thoracle.training.finetuning.vocabfine import LabelledVolumes


@dataclass(frozen=True, kw_only=True)
class DistillationConfig(RunConfig):
    """Configure the training of a student.

    Attributes:
        cohort: folder that `thoracle prepare` wrote; its volumes alone are read.
        init_from: folder of the teacher, a CT-CLIP. Its text encoder, prompts and preprocessing are the student's too, and so are weights
            of its image encoder that have a place of the same name and shape, as those of a student of fewer layers do.
        ctvit: image encoder of the student, with the teacher's sizes of volumes.
        feature_cache: folder of the teacher's latents, for this run and the next; "" is `latents` beside the run's folder.
        encode_batch_size: volumes that the teacher encodes at once.
        codebook_sync: move the codebook by the tokens of all ranks; false lets each rank's drift.
    """

    TASK: ClassVar[str] = "student"
    RESUME_MAY_CHANGE: ClassVar[frozenset[str]] = RunConfig.RESUME_MAY_CHANGE | {
        "cohort",
        "init_from",
        "feature_cache",
        "encode_batch_size",
    }

    cohort: str = "cohort"
    init_from: str = "model"
    ctvit: CTViTConfig = field(default_factory=lambda: CTViTConfig(spatial_depth=2, temporal_depth=2))
    feature_cache: str = ""
    encode_batch_size: PositiveInt = 4
    codebook_sync: bool = True

    @property
    def volumes_at_once(self) -> int:
        """Return the volumes of a batch."""
        return self.batch_size

    @property
    def latents_folder(self) -> Path:
        """Return the folder of the teacher's latents."""
        return Path(self.feature_cache) if self.feature_cache else Path(self.out).parent / "latents"


class DistillationTask(DualEncoderTask):
    """Train a student's image encoder to give the teacher's latents."""

    def __init__(
        self, clip: CTCLIP, config: DistillationConfig, world: World, *, teacher: ModelFolder, latents_VL: Tensor, names: Sequence[str]
    ) -> None:
        """`latents_VL` are the teacher's of the volumes with these `names`."""
        clip.temperature.requires_grad_(False)
        for part in (clip.text_transformer, clip.to_text_latent):
            part.requires_grad_(False)
        tokenizer = teacher.tokenizer()
        assert teacher.preprocess is not None
        sync = config.codebook_sync
        super().__init__(clip, tokenizer=tokenizer, preprocess=teacher.preprocess, codebook_sync=sync, config=config, world=world)
        self.starts = (teacher,)
        self._latents_VL, self._rows = latents_VL, {name: row for row, name in enumerate(names)}
        self._no_words = tokenizer.encode([""])  # both encoders run as one module: the frozen one is given next to nothing to read

    def accumulate_gradients(self, batches: Sequence[LabelledVolumes], *, loss_scale: float = 1.0) -> Tensor:
        """Add a step's gradients of 1 less the cosine to the teacher's latents, and update the codes."""
        self.train()
        device = self.world.device

        def loss_of(batch: LabelledVolumes) -> Tensor:
            ids, mask = self._no_words.input_ids_BN.to(device), self._no_words.attention_mask_BN.to(device)
            volume_B1ZHW = next(iter(batch.volume_B1ZHW.split(len(batch.names))))
            target_BL = self._latents_VL[[self._rows[name] for name in batch.names]].to(device)
            with self.codes.collecting():
                image_BL = self.encode(ids, mask, volume_B1ZHW.to(device, non_blocking=True))[1]
            return (1 - (image_BL * target_BL).sum(dim=1)).mean() / len(batches)

        mean = accumulate_losses(self.towers, self.world, batches, loss_of, loss_scale=loss_scale)
        self.update_codebook()
        return mean


def build_student(config: DistillationConfig, teacher: ModelFolder) -> CTCLIP:
    """Build a student: random weights, and the teacher's where name and shape are the same.

    Raises:
        InputError: the student would take volumes of another size than the teacher's.
    """
    before: CTCLIPConfig = teacher.config
    if config.ctvit.image_size != before.ctvit.image_size:
        detail = f"ctvit.image_size is {config.ctvit.image_size}, the teacher's is {before.ctvit.image_size}"
        raise InputError(detail, hint="A student takes the teacher's volumes: give its image_size.", source="config")
    student = CTCLIP(replace(before, ctvit=config.ctvit))
    shapes = {name: tensor.shape for name, tensor in student.state_dict().items()}
    shared = {name: tensor for name, tensor in load_state_dict(teacher).items() if shapes.get(name) == tensor.shape}
    student.load_state_dict(shared, strict=False)
    return student
