"""Configure a classifier's run: what learns, on what, and from where it goes on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from thoracle.config_reader import PositiveInt
from thoracle.errors import InputError
from thoracle.models.ctclip.config import CTCLIPConfig
from thoracle.training.engine.config import HINT, RunConfig

#: What the trained part is given.
Given = Literal["latents", "tokens", "volumes"]


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig(RunConfig):
    """Configure a classifier's run. Defaults are LiPro: a linear map on latents of a frozen encoder.

    Attributes:
        cohort: folder that `thoracle prepare` wrote.
        init_from: folder of the encoder, of any kind, or of the classifier to go on from; a head of the same kind is gone on from. ""
            begins with random weights of the sizes in `model`.
        model: sizes of a run from random weights; None goes on from `init_from`.
        slice_pool: weights of slices in the image latent's mean along them: "inherit" the model's own, or by "attention" that is learned
            and begins as the mean.
        head: "linear" on the latent, or "label-attention", whose labels attend to tokens; `slice_pool` does not reach it. On another
            encoder than CT-CLIP: "linear" on the mean of its tokens, on their mean by "attention", or by "label-attention", a query a
            label.
        label_self_attention: with "label-attention" on a CT-CLIP, labels attend to each other too; not shown to help on phantoms.
        encoder: "frozen"; "lora", which trains low-rank additions to its matrices; or "full". Its codes stay as they are.
        lora_rank: rank of the additions with "lora".
        feature_cache: folder of a frozen encoder's latents or tokens, for this run and the next; "" is `latents` beside the run's folder.
        encode_batch_size: volumes that a frozen encoder encodes at once.
        pos_weight: weight of a label's positives: "balanced", negatives over positives of the training labels as published, or "none".
    """

    TASK: ClassVar[str] = "classifier"
    RESUME_MAY_CHANGE: ClassVar[frozenset[str]] = RunConfig.RESUME_MAY_CHANGE | {
        "cohort",
        "init_from",
        "feature_cache",
        "encode_batch_size",
    }

    cohort: str = "cohort"
    init_from: str = "model"
    model: CTCLIPConfig | None = None
    slice_pool: Literal["inherit", "attention"] = "inherit"
    head: Literal["linear", "attention", "label-attention"] = "linear"
    label_self_attention: bool = False
    encoder: Literal["frozen", "lora", "full"] = "frozen"
    lora_rank: PositiveInt = 8
    feature_cache: str = ""
    encode_batch_size: PositiveInt = 4
    pos_weight: Literal["balanced", "none"] = "balanced"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.parallelism != "ddp":
            raise InputError("a classifier is not sharded", hint="Set parallelism to ddp.", source="config")
        if self.encoder == "frozen" and self.precision != "float32":
            # a rounded token is another code
            raise InputError("a frozen encoder runs in float32", hint="Set precision to float32.", source="config")
        if self.slice_pool == "attention" and self.head == "label-attention":
            raise InputError("head label-attention reads tokens, which no pool has met", hint=f"{HINT[:-1]}: give one.", source="config")
        if self.label_self_attention and self.head != "label-attention":
            raise InputError("label_self_attention is head label-attention's", hint=f"{HINT[:-1]}: give both.", source="config")
        if bool(self.init_from) == (self.model is not None):
            hint = f"{HINT[:-1]}: name it as `init_from`, or empty that and give `model`, sizes of random weights."
            raise InputError("a classifier needs a model to go on from, or sizes, not both", hint=hint, source="config")
        if self.model is not None and (self.model.head, self.model.label_self_attention) != ("linear", False):
            hint = f"{HINT[:-1]}: give `head` and `label_self_attention` beside `model`, not in it."
            raise InputError("the head is not one of the sizes of `model`", hint=hint, source="config")
        if self.model is not None and self.encoder != "full":
            raise InputError("random weights learn from the labels alone", hint="Set encoder to full.", source="config")

    @property
    def features(self) -> Given:
        """Return the input of the trained part: the output of the last frozen stage (latents or tokens), or volumes if the encoder
        trains.
        """
        if self.encoder != "frozen":
            return "volumes"
        return "latents" if self.slice_pool == "inherit" and self.head == "linear" else "tokens"

    @property
    def volumes_at_once(self) -> int:
        """Return the volumes of a batch; 0 where features are cached."""
        return self.batch_size if self.features == "volumes" else 0

    @property
    def batch_workers(self) -> int:
        """Return `num_workers`; 0 where features are cached, which are in memory, and only the volumes they are made of are read ahead."""
        return self.num_workers if self.features == "volumes" else 0

    @property
    def latents_folder(self) -> Path:
        """Return the folder of cached features."""
        return Path(self.feature_cache) if self.feature_cache else Path(self.out).parent / "latents"
