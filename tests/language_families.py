"""Tiny random language models of many families, as folders that `transformers` opens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import transformers
from torch import Tensor

from thoracle.cohort.vqa.vqa_file import QuestionAnswer, QuestionSet
from thoracle.errors import ThoracleError
from thoracle.inference.chat.conversation import Conversation
from thoracle.inference.chat.session import Chat
from thoracle.inference.llm.decoding import SamplingOptions, detokenize
from thoracle.inference.model import Model
from thoracle.inference.prepare import PreparedVolume
from thoracle.models.chat.adapters import add_lora_adapter, describe_adapter
from thoracle.models.chat.chat_template import ChatTemplate
from thoracle.models.chat.language_model import ChatModel, LanguageModel, load_language_model
from thoracle.models.chat.scan_tokens import ScanTokens
from thoracle.models.ctchat.config import ProjectorConfig
from thoracle.models.ctchat.projector import Projector
from thoracle.training.chat.packing import PackedCollator, PackedDataset, to_messages
from thoracle.training.chat.packing_check import trains_packed
from thoracle.training.chat.phantom_lm import build_phantom_lm
from thoracle.training.chat.task import ChatConfig, ChatTask, SmallLanguageConfig
from thoracle.training.engine.distributed import World

#: Smaller than a conversation of the tests, so that windows matter.
WINDOW: Final = 8
_HALVES: Final = ["sliding_attention", "full_attention"]
_SIZES: Final[Mapping[str, Any]] = {
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
    "bos_token_id": None,
    "eos_token_id": 0,
    "pad_token_id": 1,
    "tie_word_embeddings": False,
}
_WINDOWED: Final[Mapping[str, Any]] = {"sliding_window": WINDOW, "layer_types": _HALVES}
_LONG_ROPE: Final[Mapping[str, Any]] = {
    "rope_parameters": {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0, 1.0, 1.0, 1.0],
        "long_factor": [1.0, 2.0, 4.0, 8.0],
        "original_max_position_embeddings": 64,
        "partial_rotary_factor": 1.0,
    },
    "original_max_position_embeddings": 64,
}
_EXPERTS: Final[Mapping[str, Any]] = {"num_experts_per_tok": 2, "moe_intermediate_size": 24}
_LINEAR: Final[Mapping[str, Any]] = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
}
_MAMBA2: Final[Mapping[str, Any]] = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_chunk_size": 8}
_GPT: Final[Mapping[str, Any]] = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256, "n_inner": 48}
#: The configuration's class and what it says beside `_SIZES`.
FAMILIES: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "llama": ("LlamaConfig", {}),
    "llama 3 rope": (
        "LlamaConfig",
        {
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 10000.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            }
        },
    ),
    "mistral": ("MistralConfig", {"sliding_window": None}),
    "mistral, window": ("MistralConfig", {"sliding_window": WINDOW}),
    "ministral": ("MinistralConfig", _WINDOWED),
    "qwen 2": ("Qwen2Config", {}),
    "qwen 2, window": ("Qwen2Config", {**_WINDOWED, "use_sliding_window": True, "max_window_layers": 0}),
    "qwen 3": ("Qwen3Config", {}),
    "gemma": ("GemmaConfig", {}),
    "gemma 2": ("Gemma2Config", {**_WINDOWED, "query_pre_attn_scalar": 8}),
    "gemma 3": ("Gemma3TextConfig", {**_WINDOWED, "query_pre_attn_scalar": 8}),
    "gemma 3, images": ("Gemma3Config", {}),
    "gemma 3n": (
        "Gemma3nTextConfig",
        {
            **_WINDOWED,
            "hidden_size_per_layer_input": 8,
            "vocab_size_per_layer_input": 320,
            "laurel_rank": 4,
            "num_kv_shared_layers": 0,
            "intermediate_size": [48, 48],
            "activation_sparsity_pattern": [0.0, 0.0],
            "altup_num_inputs": 2,
        },
    ),
    "gemma 4": (
        "Gemma4TextConfig",
        {
            **_WINDOWED,
            "hidden_size_per_layer_input": 8,
            "vocab_size_per_layer_input": 320,
            "num_kv_shared_layers": 0,
            "global_head_dim": 8,
        },
    ),
    "phi": ("PhiConfig", {}),
    "phi 3": ("Phi3Config", {"sliding_window": None}),
    "phi 3, window": ("Phi3Config", {"sliding_window": WINDOW}),
    "phi 3, long rope": ("Phi3Config", {"sliding_window": None, **_LONG_ROPE}),
    "granite": (
        "GraniteConfig",
        {"logits_scaling": 8.0, "embedding_multiplier": 4.0, "residual_multiplier": 0.5, "attention_multiplier": 0.2},
    ),
    "cohere": ("CohereConfig", {"logit_scale": 0.0625}),
    "cohere 2": ("Cohere2Config", {**_WINDOWED, "logit_scale": 0.25}),
    "olmo": ("OlmoConfig", {}),
    "olmo 2": ("Olmo2Config", {}),
    "olmo 3": ("Olmo3Config", _WINDOWED),
    "gpt-oss": ("GptOssConfig", {**_WINDOWED, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "glm": ("GlmConfig", {}),
    "glm 4": ("Glm4Config", {}),
    "smollm 3": ("SmolLM3Config", {}),
    "mixtral": ("MixtralConfig", {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None}),
    "mixtral, window": ("MixtralConfig", {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": WINDOW}),
    "qwen 3 moe": ("Qwen3MoeConfig", {**_EXPERTS, "num_experts": 4}),
    "deepseek 3": (
        "DeepseekV3Config",
        {
            **_EXPERTS,
            "n_routed_experts": 4,
            "n_group": 1,
            "topk_group": 1,
            "first_k_dense_replace": 1,
            "kv_lora_rank": 16,
            "q_lora_rank": 16,
            "qk_rope_head_dim": 8,
            "qk_nope_head_dim": 8,
            "v_head_dim": 8,
            "num_key_value_heads": 4,
        },
    ),
    "llama 4": (
        "Llama4TextConfig",
        {
            "num_local_experts": 2,
            "intermediate_size_mlp": 48,
            "attention_chunk_size": WINDOW,
            "layer_types": ["chunked_attention", "full_attention"],
            "no_rope_layers": [1, 0],
        },
    ),
    "exaone 4": ("Exaone4Config", _WINDOWED),
    "starcoder 2": ("Starcoder2Config", {"sliding_window": WINDOW}),
    "stablelm": ("StableLmConfig", {}),
    "nemotron": ("NemotronConfig", {}),
    "apertus": ("ApertusConfig", {}),
    "seed-oss": ("SeedOssConfig", {}),
    "falcon": ("FalconConfig", {"alibi": False, "new_decoder_architecture": False, "multi_query": True}),
    "falcon, alibi": ("FalconConfig", {"alibi": True, "new_decoder_architecture": False, "multi_query": True}),
    "gpt-2": ("GPT2Config", _GPT),
    "opt": ("OPTConfig", {"ffn_dim": 48, "word_embed_proj_dim": 32, "dropout": 0.0, "init_std": 0.2}),
    "bloom": ("BloomConfig", {"n_layer": 2, "n_head": 4}),
    "gpt-neox": ("GPTNeoXConfig", {}),
    "lfm 2": ("Lfm2Config", {"layer_types": ["conv", "full_attention"], "conv_L_cache": 3, "block_auto_adjust_ff_dim": False}),
    "qwen 3 next": ("Qwen3NextConfig", {**_LINEAR, **_EXPERTS, "num_experts": 4, "shared_expert_intermediate_size": 24}),
    "qwen 3.5": ("Qwen3_5TextConfig", _LINEAR),
    "granite hybrid": (
        "GraniteMoeHybridConfig",
        {
            **_MAMBA2,
            "layer_types": ["mamba", "attention"],
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "shared_intermediate_size": 24,
            "logits_scaling": 4.0,
            "position_embedding_type": "rope",
        },
    ),
    "bamba": ("BambaConfig", {**_MAMBA2, "attn_layer_indices": [1]}),
    "falcon h1": ("FalconH1Config", {**_MAMBA2, "mamba_d_ssm": 64}),
    "mamba": ("MambaConfig", {"state_size": 8}),
    "mamba 2": ("Mamba2Config", {"state_size": 8, "num_heads": 8, "head_dim": 8, "n_groups": 1, "chunk_size": 8, "expand": 2}),
}
_TOWER: Final[Mapping[str, Any]] = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
_ALONE: Final = World(rank=0, size=1, device=torch.device("cpu"))


def _asked(*pairs: tuple[str, str]) -> tuple[QuestionAnswer, ...]:
    return tuple(QuestionAnswer(question=q, answer=a, task="short_answer", type="short_answer") for q, a in pairs)


_TALKS: Final = [
    QuestionSet(id="1", images=("a",), pairs=_asked(("Is there an effusion?", "Yes."))),
    QuestionSet(id="2", images=("a",), pairs=_asked(("Is there a nodule?", "No, there is none."), ("Surely?", "Yes."))),
    QuestionSet(id="3", images=("b",), pairs=_asked(("Is there an effusion?", "It is on the left."))),
    QuestionSet(id="4", images=("a", "b"), pairs=_asked(("What changed?", "Nothing."))),
]


def family_config(name: str) -> Any:
    """Build a family's configuration."""
    kind, more = FAMILIES[name]
    if kind == "Gemma3Config":
        text = {key: value for key, value in family_config("gemma 3").to_dict().items() if key != "model_type"}
        return transformers.Gemma3Config(text_config=text, vision_config=dict(_TOWER), mm_tokens_per_image=4, eos_token_id=0)
    cls = getattr(transformers, kind)
    settable = vars(cls()).keys() | cls.attribute_map.keys()
    return cls(**{name: value for name, value in {**_SIZES, **more}.items() if name in settable or name in more})


def write_family(name: str, folder: Path) -> Path:
    """Write a family's folder of random weights with a phantom's tokenizer."""
    config = family_config(name)
    torch.manual_seed(0)
    made = transformers.AutoModelForImageTextToText if "images" in name else transformers.AutoModelForCausalLM
    made.from_config(config).eval().save_pretrained(folder)
    small = SmallLanguageConfig(vocab_size=320, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    build_phantom_lm(small, ["Is there an effusion?", "Yes.", "No."]).tokenizer.save_pretrained(folder)
    return folder


@dataclass(frozen=True, kw_only=True)
class FamilyReport:
    """Say what a family came to: "equal", or the words of our refusal.

    Attributes:
        name: of the family.
        answers: over three turns about a scan, with what was read before reused, and of words alone beside `generate`.
        training: "packed" or "unpacked", where losses are its own.
        adapter: which linear maps LoRA adapts.
        logits: the largest difference, of the largest logit.
        loss: the relative difference.
    """

    name: str
    answers: str
    training: str
    adapter: str
    logits: float
    loss: float


def report_family(name: str, folder: Path, *, encoder: Model) -> FamilyReport:
    """Try one family against `transformers` itself.

    Args:
        name: of `FAMILIES`.
        folder: gets the family's folder.
        encoder: whose tokens a scan's are.
    """
    write_family(name, folder)
    try:
        language = load_language_model(folder)
        logits, answers = _compare_answers(language, encoder)
    except ThoracleError as error:
        language, logits, answers = None, 0.0, f"refused: {error.detail}"
    training, adapter, loss = "refused", "refused", 0.0
    if language is not None:
        try:
            packed, loss = _compare_loss(language)
            training = "packed" if packed else "unpacked"
        except ThoracleError as error:
            training = f"refused: {error.detail}"
        try:
            adapter = _adapt(folder)
        except ThoracleError as error:
            adapter = f"refused: {error.detail}"
    return FamilyReport(name=name, answers=answers, training=training, adapter=adapter, logits=logits, loss=loss)


def _projector(width: int) -> Projector:
    torch.manual_seed(0)
    return Projector(ProjectorConfig(num_queries=4, dim=8, dim_context=width, attention_dim=8, hidden_size=32))


def _own(model: Any, ids_1N: Tensor, embedded_1NH: Tensor, **more: Any) -> Any:
    """The family's own output of a whole conversation, read at once."""
    if hasattr(model.get_decoder(), "get_per_layer_inputs"):
        more["per_layer_inputs"] = model.get_decoder().get_per_layer_inputs(ids_1N.clamp(min=0).where(ids_1N >= 0, 1))
    return model(inputs_embeds=embedded_1NH, use_cache=False, **more)


@torch.no_grad()
def _compare_answers(language: LanguageModel, encoder: Model) -> tuple[float, str]:
    """Three turns about a scan, a question that begins alike, and words alone."""
    chat = Chat(language, _projector(64), encoder=encoder, caution="")
    size = encoder.preprocess.size
    array = np.random.default_rng(1).normal(-0.5, 0.1, size).astype(np.float32)
    scan = ScanTokens(encoder.folder).compress(encoder.encode_tokens(PreparedVolume(array=array, provenance=None, warnings=())))
    given: list[Tensor] = []
    own_logits = chat._causal.logits

    def recorded(*inputs: Any, **named: Any) -> Tensor:
        given.append(own_logits(*inputs, **named)[0, -1])
        return given[-1][None, None]

    chat._causal.logits = recorded  # type: ignore[method-assign]
    sampling, largest, turns = SamplingOptions(max_tokens=8), 0.0, Conversation(scans=(scan,))
    for question in ("Is there an effusion?", "Where is it, and is it on the left or on the right?", "Surely?"):
        messages = turns.messages(question, "short_answer")
        encoded = chat._prompter.encode(messages)
        ids = torch.tensor([encoded.ids])
        embedded = chat._model.embed(ids, chat._tokens.expand(scan[None]))
        given.clear()
        text = "".join(chat.answer(turns, question, task="short_answer", sampling=sampling))
        words: list[int] = []
        for got in list(given):
            own = _own(language.model, ids, embedded).logits[0, -1]
            largest = max(largest, float((own - got).abs().max() / own.abs().max()))
            words.append(int(own.argmax()))
            ids = torch.cat([ids, torch.tensor([[words[-1]]])], dim=1)
            embedded = torch.cat([embedded, language.model.get_input_embeddings()(ids[:, -1:])], dim=1)
        if text != _text(language, words):
            return largest, "other words"
    alone = turns.messages("Is there an effusion?", "short_answer")[-1:]
    prompt = torch.tensor([chat._prompter.encode(alone).ids])
    expected = language.model.generate(input_ids=prompt, max_new_tokens=8, do_sample=False)[0, prompt.shape[1] :].tolist()
    if "".join(chat.complete_text(alone, sampling=sampling)) != _text(language, expected):
        return largest, "other words than `generate`"
    return largest, "equal" if largest <= 1e-5 else "other logits"


def _text(language: LanguageModel, words: Sequence[int]) -> str:
    return "".join(detokenize(iter(words[: words.index(0)] if 0 in words else words), language.tokenizer))


def _compare_loss(language: LanguageModel) -> tuple[bool, float]:
    """Conversations of one turn and of two about two scans, in the rows that a run would have, and each by itself."""
    model = ChatModel(language.model, _projector(6)).eval()
    prompter, codes = ChatTemplate(language.tokenizer, rows=4), {name: torch.randn(1, 2, 2, 6) for name in "ab"}
    collate = PackedCollator(codes.__getitem__, pad=1, weigh="token")
    packed = trains_packed(model, PackedDataset(_TALKS, prompter, length=200), collate, read=torch.clone)
    rows, collate = (
        PackedDataset(_TALKS, prompter, length=200, packed=packed),
        PackedCollator(codes.__getitem__, pad=1, weigh="token", packed=packed),
    )
    task = ChatTask(model, ChatConfig(language_model="x"), _ALONE, read=torch.clone, save=lambda *_: None, packed=packed)
    ours, expected, count = 0.0, 0.0, 0
    with torch.no_grad():
        for row in (rows[k] for k in range(len(rows))):
            batch = collate([row])
            ours += float(task.loss(batch) * batch.weights_BN.sum())
        for talk in _TALKS:
            for encoded in prompter.encode_answers(to_messages(talk)):
                ids = torch.tensor([encoded.ids])
                labels = ids.where(torch.tensor([encoded.loss_mask]), -100)
                embedded = model.embed(ids, torch.stack([codes[name] for name in talk.images]))
                scored = sum(encoded.loss_mask)
                expected += float(_own(language.model, ids, embedded, labels=labels).loss) * scored
                count += scored
    return packed, abs(ours - expected) / expected


def _adapt(folder: Path) -> str:
    """Begin a stage of LoRA: it changes nothing yet, maps get gradients, read again and merged it answers as before."""
    language = load_language_model(folder)
    ids = torch.tensor([[7, 8, 9, 10, 11, 12]])
    with torch.no_grad():
        before = language.model(input_ids=ids).logits
    adapted = add_lora_adapter(language.model, rank=2, alpha=4)
    described = describe_adapter(adapted)
    ChatTask(ChatModel(adapted, _projector(6)), ChatConfig(language_model="x"), _ALONE, read=torch.clone, save=lambda *_: None)
    with torch.no_grad():
        torch.testing.assert_close(adapted(input_ids=ids).logits, before)
    adapted(input_ids=ids).logits.square().sum().backward()
    still = [name for name, p in adapted.named_parameters() if "lora_B" in name and (p.grad is None or not p.grad.any())]
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1)
        changed = adapted(input_ids=ids).logits
        adapted.save_pretrained(folder / "adapter")
        merged = adapted.merge_and_unload()(input_ids=ids).logits
        again = load_language_model(folder, adapter=folder / "adapter").model(input_ids=ids).logits
    torch.testing.assert_close(again, changed)
    torch.testing.assert_close(merged, changed, rtol=1e-4, atol=1e-4)
    return described + (f"; {len(still)} without a gradient" if still else "")
