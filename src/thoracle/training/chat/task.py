"""Configure and run the task of CT-CHAT's training, in three stages.

- "base": a small language model of its own from random weights, which learns to answer from findings that are told; for phantoms.
- "projector": the projector alone, before a language model that stays as it is (published stage 1).
- "lora": the projector and a LoRA adapter of the language model (published stage 2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thoracle.config_reader import NonNegativeInt, PositiveInt, Range, check_fields
from thoracle.errors import InputError
from thoracle.models.chat.causal_model import decoder_layers
from thoracle.models.chat.language_model import ChatModel, Dtype
from thoracle.models.ctchat.config import ProjectorConfig
from thoracle.models.ctchat.projector import Projector
from thoracle.training.chat.packing import ChatBatch, attention_mask
from thoracle.training.engine.config import HINT, RunConfig
from thoracle.training.engine.distributed import World, parallelize
from thoracle.training.engine.single_loss import WeightsOnlyTask, accumulate_losses
from thoracle.training.engine.task import autocast

Stage = Literal["base", "projector", "lora"]
STAGES: Final[tuple[Stage, ...]] = ("base", "projector", "lora")


#: Writes a model folder of the trained weights, by their names in `ChatModel`, as they were after so many steps.
Save = Callable[[Path, Mapping[str, Tensor], int], None]


@dataclass(frozen=True, kw_only=True)
class SmallLanguageConfig:
    """Configure a Llama-shaped language model for phantoms; names as in `transformers.LlamaConfig`.

    Attributes:
        vocab_size: words of the tokenizer.
        hidden_size: width of tokens.
        intermediate_size: width inside a layer's MLP.
        num_hidden_layers: layers.
        num_attention_heads: attention heads; they divide hidden_size.
        max_position_embeddings: tokens of the longest sequence.
    """

    vocab_size: PositiveInt = 1024
    hidden_size: PositiveInt = 128
    intermediate_size: PositiveInt = 352
    num_hidden_layers: PositiveInt = 4
    num_attention_heads: PositiveInt = 4
    max_position_embeddings: PositiveInt = 1024

    def __post_init__(self) -> None:
        check_fields(self)
        if self.hidden_size % self.num_attention_heads:
            detail = f"num_attention_heads {self.num_attention_heads} does not divide hidden_size {self.hidden_size}"
            raise InputError(detail, hint="Give sizes that divide.", source="phantom_lm")


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """Configure LoRA (Hu et al., arXiv:2106.09685); the defaults are CT-CHAT's.

    Attributes:
        rank: rank of the adapter's product.
        alpha: the adapter adds alpha / rank times its product.
        dropout: share of what an adapted map reads that its adapter does not see in a step.
        targets: linear maps, or weights of experts, that are adapted, by the ends of their names; none for all linear maps of the language
            model but its head and experts, as published.
    """

    rank: PositiveInt = 128
    alpha: PositiveInt = 256
    dropout: Annotated[float, Range(min=0, below=1)] = 0.05
    targets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class NewProjectorConfig:
    """Configure a new projector: CT-CHAT's attentional pooler and the two layers behind it.

    Attributes:
        num_queries: learned queries, each of which gives a token to the language model.
        dim: width of queries.
        attention_dim: width of all heads together.
        heads: attention heads; they divide `attention_dim`.
        num_positions: tokens of a scan, each of which has a position embedding: null for as many as the encoder gives; 0 for none, as
            published.
        num_findings: abnormalities that have a token of their own, which needs `num_positions`; 0 for none, as published.
        dim_context: width of a scan's tokens; null for that of the encoder's.
        hidden_size: width of the language model's embeddings; null for what it is.
    """

    num_queries: PositiveInt = 256
    dim: PositiveInt = 512
    attention_dim: PositiveInt = 512
    heads: PositiveInt = 8
    num_positions: NonNegativeInt | None = 0
    num_findings: NonNegativeInt = 0
    dim_context: PositiveInt | None = None
    hidden_size: PositiveInt | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        self.complete(num_positions=1, dim_context=1, hidden_size=1)

    def complete(self, **sizes: int) -> ProjectorConfig:
        """Put sizes in place of those that are left open; raises InputError where they contradict each other."""
        return ProjectorConfig(**{name: sizes[name] if value is None else value for name, value in vars(self).items()})


@dataclass(frozen=True, kw_only=True)
class ChatConfig(RunConfig):
    """Configure a run of one stage.

    Attributes:
        stage: "base" trains a small language model for phantoms; "projector" the projector alone, published stage 1; "lora" the projector
            and a LoRA adapter of the language model, published stage 2.
        cohort: folder that `thoracle prepare` wrote.
        vqa_file: file that `thoracle vqa` wrote.
        encoder: model folder whose tokens are read; not trained.
        language_model: folder of the language model.
        dtype: numbers of the language model's weights where they are not trained: "auto" for those of its folder, "bf16" or "float32". What
            is trained is float32.
        prompt: "template" trains on whole conversations, written by the language model's own chat template; "plain", in stage "projector"
            alone, on LLaVA's plain conversations: the scan and each answer, without question and system prompt, as published.
        init_from: chat folder of stage 1 whose projector stage 2 goes on from; "" for a new projector.
        projector: sizes of a new projector.
        adapter: settings of stage "lora".
        phantom_lm: sizes of the language model of stage "base".
        sequence_length: tokens of a sequence, into which conversations are packed; longer ones are left out.
        num_eval_conversations: conversations of the split dev whose loss is measured each `eval_every` steps.
        loss_weight: "token" weighs every word of answers equally, as published; "sqrt_length" weighs an answer by the root of its length:
            among short answers and a few reports, nearly all words are the reports'.
    """

    TASK: ClassVar[str] = "chat"
    RESUME_MAY_CHANGE: ClassVar[frozenset[str]] = RunConfig.RESUME_MAY_CHANGE | {
        "cohort",
        "vqa_file",
        "encoder",
        "language_model",
        "init_from",
    }
    MONITORS: ClassVar[tuple[str, ...]] = ("minus_loss",)

    stage: Stage = "projector"
    cohort: str = "cohort"
    vqa_file: str = "vqa.json"
    encoder: str = "model"
    language_model: str = ""
    dtype: Dtype = "auto"
    prompt: Literal["template", "plain"] = "template"
    init_from: str = ""
    projector: NewProjectorConfig = field(default_factory=NewProjectorConfig)
    adapter: AdapterConfig = field(default_factory=AdapterConfig)
    phantom_lm: SmallLanguageConfig = field(default_factory=SmallLanguageConfig)
    sequence_length: Annotated[int, Range(min=2)] = 2048
    num_eval_conversations: PositiveInt = 512
    loss_weight: Literal["token", "sqrt_length"] = "token"
    monitor: str = "minus_loss"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stage != "base" and not self.language_model:
            hint = f"{HINT[:-1]}: name its folder as `language_model`."
            raise InputError(f"stage {self.stage} needs a language model", hint=hint, source="config")
        if self.stage != "projector" and self.prompt == "plain":
            raise InputError(f"stage {self.stage} is not trained on plain conversations", hint='Set prompt to "template".', source="config")


class ChatTask(WeightsOnlyTask):
    """Train a chat model.

    Args:
        model: on the rank's device, with what is trained asking for gradients, and nothing else.
        config: of the run.
        world: its ranks.
        read: gives what the projector takes of scans as they are kept.
        save: writes the finished model.
        packed: whether rows hold several conversations; otherwise each is one.
    """

    def __init__(
        self, model: ChatModel, config: ChatConfig, world: World, *, read: Callable[[Tensor], Tensor], save: Save, packed: bool = True
    ) -> None:
        self.model, self.config, self.world = model, config, world
        self._read, self._save, self._packed = read, save, packed
        blocks = decoder_blocks(model)
        if config.activation_checkpointing:
            model.language.gradient_checkpointing_enable({"use_reentrant": False})
            model.language.train()
        if config.compile:
            for block in blocks:
                block.compile()
        self._spread = parallelize(model, world, shard=config.parallelism == "fsdp", blocks=blocks)
        self._trained = nn.ModuleDict({"trained": nn.ParameterDict({_key(name): p for name, p in _own_parameters(model)})})

    def checkpoint_modules(self) -> nn.ModuleDict:
        """Return the trained modules and the fitted projector, without the frozen language model."""
        return self._trained

    def trainable_parameters(self) -> list[nn.Parameter]:
        """Return the trained parameters."""
        return [parameter for parameter in self._trained.parameters() if parameter.requires_grad]

    def text_parameters(self) -> list[nn.Parameter]:
        """Return none: the language model trains at the scheduled rate."""
        return []

    def accumulate_gradients(self, batches: Sequence[ChatBatch], *, loss_scale: float = 1.0) -> Tensor:
        """Add a step's gradients. An answer weighs the same in any batch and on any rank."""
        self.model.train()
        # Ranks' gradients are averaged: what each adds is so many times its share.
        total_weight = self.world.all_reduce_mean(torch.stack([batch.weights_BN.sum() for batch in batches]).sum().to(self.world.device))
        return accumulate_losses(self._spread, self.world, batches, lambda batch: self._lost(batch) / total_weight, loss_scale=loss_scale)

    def loss(self, batch: ChatBatch) -> Tensor:
        """Compute cross-entropy of the answers' words, averaged by their weights; a scalar."""
        return self._lost(batch) / batch.weights_BN.sum().to(self.world.device)

    def _lost(self, batch: ChatBatch) -> Tensor:
        """The same, summed."""
        device = self.world.device
        batch = batch.to(device)
        tokens = None if batch.scans_I is None else self._read(batch.scans_I)
        with autocast(self.config.precision, device):
            packed = {"mask_B1NN": attention_mask(batch), "positions_BN": batch.positions_BN} if self._packed else {}
            logits_SV = self._spread(batch.ids_BN, tokens, batch.kept_K, batch.scored_2S, **packed)
        row_S, kept_S = batch.scored_2S
        column_S = batch.kept_K[kept_S]
        each_S = F.cross_entropy(logits_SV.float(), batch.targets_BN[row_S, column_S], reduction="none")
        return (each_S * batch.weights_BN[row_S, column_S]).sum()

    def save_model(self, out: Path, weights: Mapping[str, Tensor], *, step: int) -> None:
        """Write the chat folder."""
        named = {_key(name): name for name, _ in _own_parameters(self.model)}
        self._save(out, {named[name.removeprefix("trained.")]: tensor for name, tensor in weights.items()}, step)


def decoder_blocks(model: ChatModel) -> list[nn.Module]:
    """List what is gathered at a time where weights are sharded: the decoder's layers, and the projector."""
    return [*decoder_layers(model.language), *([model.projector] if isinstance(model.projector, Projector) else [])]


def _own_parameters(model: ChatModel) -> Iterator[tuple[str, nn.Parameter]]:
    """All that is not the base model's as it was."""
    return ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad or name.startswith("projector."))


def _key(name: str) -> str:
    """As a ParameterDict can have it."""
    return name.replace(".", "/")
