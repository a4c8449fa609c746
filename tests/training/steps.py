"""One step of each kind, on however many ranks the environment says: imported by tests, and run by them on two."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from thoracle.cohort.samples.augment import Augmentation
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.models.ctclip.config import CTCLIPConfig, CTViTConfig
from thoracle.models.ctclip.model import CTCLIP
from thoracle.models.imagetext.config import ImageTextConfig
from thoracle.models.medfinder.config import MedFinderConfig, ResNetConfig
from thoracle.models.medfinder.model import MedFinder
from thoracle.models.merlin.config import MerlinConfig
from thoracle.models.registry import REGISTRY
from thoracle.models.text.config import TextConfig
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.training.contrastive.ctclip import ContrastiveConfig, ContrastiveTask
from thoracle.training.contrastive.gradient_cache import ContrastivePairTask, PairConfig
from thoracle.training.contrastive.medfinder import MedFinderRunConfig, MedFinderTask
from thoracle.training.engine.distributed import World, clip_gradients, distributed_context, full_state_dict, load_full_state_dict
from thoracle.training.engine.optimizer import build_adamw
from thoracle.training.engine.sampler import Batch

PAIRS = 8
LENGTH = 9
MODEL = CTCLIPConfig(
    ctvit=CTViTConfig(dim=16, codebook_size=32, image_size=40, patch_size=20, spatial_depth=1, temporal_depth=1, dim_head=8, heads=2),
    bert=TextConfig(
        vocab_size=64,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    ),
    dim_latent=16,
    n_frames=20,
)
CONFIG = ContrastiveConfig(model=MODEL, preprocess=PreprocessConfig(size=(20, 40, 40)), batch_size=PAIRS, num_workers=0)
FINDER = MedFinderRunConfig(
    model=MedFinderConfig(
        size=(20, 40, 40),
        resnet=ResNetConfig(blocks=(1, 1, 1, 1), widths=(8, 8, 16, 16), bottleneck=False, stride=2),
        bert=MODEL.bert,
        dim_latent=16,
        heads=2,
    ),
    preprocess=PreprocessConfig(size=(20, 40, 40)),
    augmentation=Augmentation(probability=0.0),
    freeze_text_encoder=False,
    batch_size=PAIRS,
    num_workers=0,
)
#: What two ranks of four are compared with.
CASES = {
    "global": CONFIG,
    "cached": replace(CONFIG, gradient_cache_chunk=2),
    "sharded": replace(CONFIG, parallelism="fsdp"),
    "sharded, cached": replace(CONFIG, parallelism="fsdp", gradient_cache_chunk=2, activation_checkpointing=True),
    "sigmoid": replace(CONFIG, loss="sigmoid", init_logit_bias=-1.0),
    "cloob": replace(CONFIG, model=replace(MODEL, extra_latent_projection=True, decoupled_loss=True)),
    "shared": CONFIG,
    "own negatives": replace(CONFIG, negatives="local"),
    "own codes": replace(CONFIG, codebook_sync=False),
    "image-text": replace(CONFIG, init_image_encoder="merlin"),
    "image-text, cached": replace(CONFIG, init_image_encoder="merlin", locked="image", gradient_cache_chunk=2),
    "medfinder": FINDER,
    "medfinder, cached": replace(FINDER, gradient_cache_chunk=2, parallelism="fsdp", text="frozen", freeze_text_encoder=True),
}


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one step gave: the loss, the gradients by name, codes after it, and everything after AdamW moved too."""

    loss: Tensor
    norm: float
    gradients: dict[str, Tensor]
    embed: Tensor
    cluster_size: Tensor
    weights: dict[str, Tensor]


#: Pairs 0 and 4, which two ranks share out, are of one scan; 2 and 6 have one text.
IDENTITY = torch.tensor([[0, 10], [1, 11], [2, 12], [3, 13], [0, 14], [5, 15], [6, 12], [7, 17]])


def batch(*, first: int = 0, pairs: int = PAIRS, shared: bool = False) -> Batch:
    """Some of eight pairs, always the same, all unlike or as `IDENTITY` says."""
    generator = torch.Generator().manual_seed(1)
    volumes = torch.randn(PAIRS, 1, 20, 40, 40, generator=generator)
    ids = torch.randint(5, 64, (PAIRS, LENGTH), generator=generator)
    part = slice(first, first + pairs)
    mask = torch.ones(PAIRS, LENGTH, dtype=torch.long)
    names = tuple(f"pair {number}" for number in range(PAIRS))
    identity = IDENTITY[part] if shared else None
    return Batch(volume_B1ZHW=volumes[part], input_ids_BN=ids[part], attention_mask_BN=mask[part], names=names[part], identity_B2=identity)


def task(config: PairConfig, world: World) -> ContrastivePairTask:
    """With weights that are always the same."""
    torch.manual_seed(0)
    tokenizer = Tokenizer.from_words(["effusion"])
    if isinstance(config, MedFinderRunConfig):
        return MedFinderTask(MedFinder(config.model), config, world, tokenizer=tokenizer)
    assert isinstance(config, ContrastiveConfig)
    if config.init_image_encoder:
        encoder = MerlinConfig(width=2, layers=(1, 1, 1, 1), contrastive_dim=None)
        sizes = ImageTextConfig(bert=MODEL.bert, dim_latent=16, encoder_kind=config.init_image_encoder, encoder=encoder)
        return ContrastiveTask(REGISTRY["image-text"].build(sizes), config, world, tokenizer=tokenizer)
    return ContrastiveTask(CTCLIP(config.model), config, world, tokenizer=tokenizer)


def step(config: PairConfig, world: World, batches: list[Batch]) -> Step:
    """One step on fresh weights."""
    model = task(config, world)
    optimizer = build_adamw(model.trainable_parameters(), config.optimizer, text=model.text_parameters())
    loss = model.accumulate_gradients(batches)
    names = {n: p for n, p in model.checkpoint_modules().named_parameters() if p.grad is not None}
    gradients = {n: p.grad.full_tensor() if hasattr(p.grad, "full_tensor") else p.grad.clone() for n, p in names.items()}
    norm = clip_gradients(model.trainable_parameters(), world, limit=0.5)
    optimizer.step()
    weights, moments = full_state_dict(model.checkpoint_modules(), optimizer)
    load_full_state_dict(model.checkpoint_modules(), optimizer, weights=weights, moments=moments)
    again, _ = full_state_dict(model.checkpoint_modules(), optimizer)
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    book = model.codes.codebook
    embed, cluster_size = (torch.zeros(0), torch.zeros(0)) if book is None else (book.embed, book.cluster_size)
    return Step(loss=loss, norm=norm, gradients=gradients, embed=embed, cluster_size=cluster_size, weights=weights)


def same_gradients(got: dict[str, Tensor], expected: dict[str, Tensor], *, tolerance: float = 1e-5) -> None:
    """Compare gradients by the norm of their difference: a convolution sums over ranks and kernels in another order."""
    assert got.keys() == expected.keys()
    for name, gradient in expected.items():
        assert (got[name] - gradient).norm() <= tolerance * max(1.0, gradient.norm()), name


def main(out: Path) -> None:
    """Each case on this rank's part of the pairs, written to a file of its own."""
    with distributed_context() as world:
        count = PAIRS // world.size
        taken = {}
        for name, config in CASES.items():
            local = batch(first=world.rank * count, pairs=count, shared=name == "shared")
            taken[name] = step(replace(config, batch_size=count), world, [local])
        torch.save({name: vars(values) for name, values in taken.items()}, out / f"{world.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
