"""Plan runs that go on from a CT-CLIP: VocabFine, and classifiers, whose frozen encoder encodes all volumes first."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from thoracle.ct.preprocess import Preprocessing
from thoracle.errors import InputError
from thoracle.models.common.prompts import format_prompts
from thoracle.models.ctclip.classifier import build_head
from thoracle.models.ctclip.config import CTCLIPConfig
from thoracle.models.ctclip.model import CTCLIP
from thoracle.models.ctclip.spec import CTCLIP_KINDS
from thoracle.training.contrastive.pair_plan import outline_dual_encoder
from thoracle.training.engine.plan import Encoding, RunPlan, StepOutline, plan_run, step_cost
from thoracle.training.finetuning.classifier import ClassifierNetwork, learning_parts, target_config
from thoracle.training.finetuning.classifier_run import open_classifier_start
from thoracle.training.finetuning.config import ClassifierConfig
from thoracle.training.finetuning.frozen_features import feature_shape
from thoracle.training.finetuning.vocabfine import VocabFineConfig
from thoracle.training.finetuning.vocabfine_run import open_vocabfine_start
from thoracle.types import ABNORMALITIES


def plan_vocabfine(
    config: VocabFineConfig, preprocess: Preprocessing, *, samples: int, cache: int, ranks: int, local_ranks: int
) -> RunPlan:
    """Plan a run from its configuration, the model it goes on from and the sizes of its data.

    Args:
        config: of the run.
        preprocess: what the volumes went through.
        samples: of the training split.
        cache: bytes of the cohort's cache.
        ranks, local_ranks: of the run, and of a node.

    Raises:
        As `vocabfine_run`.
    """
    start = open_vocabfine_start(config, preprocess)
    tokens_KN = start.tokenizer().encode(format_prompts(templates=start.prompts), max_length=start.config.bert.max_tokens).input_ids_BN

    def outline() -> StepOutline:
        clip, texts, tokens = CTCLIP(start.config), *tokens_KN.shape
        return outline_dual_encoder(config, clip, chunk=config.batch_size, size=preprocess.size, texts=texts, tokens=tokens)

    return plan_run(
        config,
        step_cost(outline, half=config.precision != "float32"),
        chunk=config.batch_size,
        voxels=prod(preprocess.size),
        samples=samples,
        cache=cache,
        ranks=ranks,
        local_ranks=local_ranks,
    )


def plan_classifier(
    config: ClassifierConfig, preprocess: Preprocessing, *, samples: int, evaluated: int, cache: int, ranks: int, local_ranks: int
) -> RunPlan:
    """Plan a run from its configuration, the model it goes on from and the sizes of its data.

    Args:
        config: of the run.
        preprocess: what the volumes went through.
        samples: of the training split.
        evaluated: volumes that are evaluated on.
        cache: bytes of the cohort's cache.
        ranks, local_ranks: of the run, and of a node.

    Raises:
        As `classifier_run`.
    """
    start = open_classifier_start(config, preprocess)
    if start is not None and start.kind not in CTCLIP_KINDS:
        hint = "Run it without --dry-run; a frozen encoder's pass is what takes the time."
        raise InputError("is no CT-CLIP, whose runs alone are planned", hint=hint, source=start.path)
    model, size = target_config(config, start), preprocess.size
    encoder = model if start is None else start.config
    shape, dtype = _given(config, encoder, size)
    features, encoding = 0, None
    if config.features != "volumes":
        features = (samples + evaluated) * dtype.itemsize * prod(shape)
        cost = step_cost(lambda: _outline_encoder(config, encoder, size), half=False, backward=False)
        encoding = Encoding(cost=cost, batch=config.encode_batch_size, voxels=prod(size), ahead=config.num_workers > 0)
    return plan_run(
        config,
        step_cost(
            lambda: _outline_network(config, model, torch.zeros(config.batch_size, *shape, dtype=dtype)), half=config.precision != "float32"
        ),
        chunk=config.batch_size,
        voxels=0 if encoding else prod(size),
        sample_bytes=dtype.itemsize * prod(shape) if encoding else 0,
        samples=samples,
        cache=cache + features,
        ranks=ranks,
        local_ranks=local_ranks,
        held=features,
        encoding=encoding,
    )


def _given(config: ClassifierConfig, start: CTCLIPConfig, size: tuple[int, int, int]) -> tuple[tuple[int, ...], torch.dtype]:
    """The shape and type of what the network is given of a volume: the volume, or what a frozen encoder gives, as it is kept."""
    if config.features == "volumes":
        return (1, *size), torch.float32
    with torch.device("meta"):
        clip = CTCLIP(start)
    kept = torch.int32 if start.reads_codes else torch.float16
    return feature_shape(clip, config.features), torch.float32 if config.features == "latents" else kept


def _outline_encoder(config: ClassifierConfig, start: CTCLIPConfig, size: tuple[int, int, int]) -> StepOutline:
    clip = CTCLIP(start).eval()
    volume_B1ZHW = torch.empty(config.encode_batch_size, 1, *size)
    return StepOutline(module=clip, forward=lambda: [clip.project_tokens(clip.pooling_tokens(clip.visual_transformer(volume_B1ZHW)))])


def _outline_network(config: ClassifierConfig, model: CTCLIPConfig, given_B: Tensor) -> StepOutline:
    clip = None if config.features == "latents" else CTCLIP(model).requires_grad_(False)
    head = build_head(model, n_labels=len(ABNORMALITIES))
    learning = {} if clip is None else learning_parts(clip, config)
    network = ClassifierNetwork(clip, head, config.features).train()
    if clip is not None and clip.codebook is not None:
        clip.codebook.eval()  # it counts tokens in training, which have no values here
    return StepOutline(module=network, forward=lambda: [network(given_B)], saved=nn.ModuleDict({"head": head, **learning}))
