"""Words to ids with the model's own vocabulary, from files alone: no remote code, no transformers.

Shapes: B texts, N tokens of the longest.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import tokenizers
import torch
from tokenizers import models, normalizers, pre_tokenizers, processors

from thoracle.errors import InputError, TokenizerMissing
from thoracle.files.json_file import parse_json
from thoracle.models.encoder import EncodedText

#: What a folder may hold, in the order of preference: BERT's vocabulary, RoBERTa's pair, the library's own file.
LAYOUTS: Final = (("vocab.txt",), ("vocab.json", "merges.txt"), ("tokenizer.json",))
SETTINGS: Final = "tokenizer_config.json"
#: The largest published file has 2 MB.
FILE_BUDGET: Final = 64 * 2**20

#: Tokens of a window left free: a word at its front may be spelled with others than amid a text.
_SPARE: Final = 8

_BERT: Final = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
_ROBERTA: Final = {"cls_token": "<s>", "pad_token": "<pad>", "sep_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask>"}


class Tokenizer:
    """Tokenize by BERT's WordPiece, RoBERTa's byte-level BPE, or what a `tokenizer.json` describes."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        """From the content of the files of one of `LAYOUTS`, with or without `tokenizer_config.json`.

        Raises:
            TokenizerMissing: none of them, or damaged.
        """
        self._core, pad = _build(files)
        self._pad = _token_id(self._core, pad)
        self.files = dict(files)
        self.vocab_size = 1 + max(self._core.get_vocab(with_added_tokens=True).values())
        #: SHA-256 over names and contents of the files.
        self.fingerprint = hashlib.sha256(b"".join(_digest(name, files[name]) for name in sorted(files))).hexdigest()

    @classmethod
    def from_folder(cls, folder: Path) -> Tokenizer:
        """Load a user's folder: `vocab.txt`, or `vocab.json` and `merges.txt`, or `tokenizer.json`.

        Raises:
            TokenizerMissing: it holds none of them, or they are damaged.
        """
        for layout in LAYOUTS:
            if all((folder / name).is_file() for name in layout):
                names = [*layout, SETTINGS] if (folder / SETTINGS).is_file() else list(layout)
                return cls({name: _read(folder / name) for name in names})
        raise TokenizerMissing(
            f"holds neither {', nor '.join(' with '.join(layout) for layout in LAYOUTS)}",
            hint="Give the folder of the model's own tokenizer.",
            source=folder,
        )

    @classmethod
    def from_words(cls, texts: Sequence[str]) -> Tokenizer:
        """Build a WordPiece vocabulary of these texts' words and characters, for untrained models, which have no published one."""
        words = sorted({word for text in texts for word in re.findall(r"\w+|[^\w\s]", text.lower())})
        characters = sorted({c for word in words for c in word} | set("abcdefghijklmnopqrstuvwxyz0123456789"))
        vocabulary = list(dict.fromkeys([*_BERT.values(), *words, *characters, *(f"##{c}" for c in characters)]))
        return cls({"vocab.txt": "\n".join([*vocabulary, ""]).encode()})

    def encode(self, texts: Sequence[str], *, max_length: int = 512) -> EncodedText:
        """Encode texts, padded to the longest of them only; longer than `max_length` is cut, the closing token kept, as published.

        Raises:
            InputError: no texts.
        """
        if not texts or max_length < 2:
            raise InputError("nothing to encode", hint="Give at least one text and a max_length of at least 2.")
        # One text at a time: encode_batch starts threads, which a later fork (data loading) does not survive.
        rows = [self._encoding(text).ids for text in texts]
        rows = [ids if len(ids) <= max_length else [*ids[: max_length - 1], ids[-1]] for ids in rows]
        ids_BN = torch.full((len(rows), max(map(len, rows))), self._pad)
        mask_BN = torch.zeros_like(ids_BN)
        for row, ids in enumerate(rows):
            ids_BN[row, : len(ids)] = torch.tensor(ids)
            mask_BN[row, : len(ids)] = 1
        return EncodedText(input_ids_BN=ids_BN, attention_mask_BN=mask_BN)

    def count_cut(self, texts: Sequence[str], *, max_length: int) -> int:
        """Count the texts that `encode` cuts at this length."""
        return sum(len(self._encoding(text).ids) > max_length for text in texts)

    def _encoding(self, text: str) -> tokenizers.Encoding:
        return self._core.encode(text.encode("utf-8", "replace").decode())  # half a surrogate, which JSON can hold, is no text to it

    def windows(self, text: str, *, max_length: int) -> list[str]:
        """Split a text into overlapping windows of whole words that `encode` does not cut at this length; the text alone where it fits."""
        encoded = self._encoding(text)
        if len(encoded.ids) <= max_length:
            return [text]
        tokens = [token for token, special in enumerate(encoded.special_tokens_mask) if not special]
        budget = max(1, max_length - (len(encoded.ids) - len(tokens)) - _SPARE)
        starts = [row for row, token in enumerate(tokens) if row == 0 or encoded.word_ids[token] != encoded.word_ids[tokens[row - 1]]]
        windows, first = [], 0
        while True:
            fitting = [start for start in starts if first < start <= first + budget]
            last = len(tokens) if len(tokens) - first <= budget or not fitting else fitting[-1]
            windows.append(text[encoded.offsets[tokens[first]][0] : encoded.offsets[tokens[last - 1]][1]])
            if last == len(tokens):
                return windows
            first = max((start for start in fitting if start <= first + budget * 3 // 4), default=last)


def _build(files: Mapping[str, bytes]) -> tuple[tokenizers.Tokenizer, str]:
    settings = _json(files[SETTINGS], SETTINGS) if SETTINGS in files else {}
    if "vocab.txt" in files:
        return _wordpiece(_text(files["vocab.txt"], "vocab.txt"), settings)
    if "vocab.json" in files and "merges.txt" in files:
        return _byte_level(_json(files["vocab.json"], "vocab.json"), _text(files["merges.txt"], "merges.txt"), settings)
    return _described(files, settings)


def _wordpiece(text: str, settings: Mapping[str, Any]) -> tuple[tokenizers.Tokenizer, str]:
    lines = text.removesuffix("\n").split("\n")
    vocabulary = {token: row for row, token in enumerate(lines)}
    special = _special(settings, _BERT, vocabulary, "vocab.txt")
    core = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token=special["unk_token"], max_input_chars_per_word=100))
    core.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=bool(settings.get("tokenize_chinese_chars", True)),
        strip_accents=None if settings.get("strip_accents") is None else bool(settings["strip_accents"]),
        lowercase=bool(settings.get("do_lower_case", True)),
    )
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.add_special_tokens(list(special.values()))
    ends = {name: (special[name], vocabulary[special[name]]) for name in ("sep_token", "cls_token")}
    core.post_processor = processors.BertProcessing(ends["sep_token"], ends["cls_token"])
    return core, special["pad_token"]


def _byte_level(vocabulary: Mapping[str, Any], merges: str, settings: Mapping[str, Any]) -> tuple[tokenizers.Tokenizer, str]:
    special = _special(settings, _ROBERTA, vocabulary, "vocab.json")
    pairs = [(a, b) for a, _, b in (line.partition(" ") for line in merges.split("\n") if line and not line.startswith("#version"))]
    if not all(isinstance(row, int) and 0 <= row < 2**31 for row in vocabulary.values()):
        raise _damaged("vocab.json", "holds numbers that are not rows")
    if any(part not in vocabulary for a, b in pairs for part in (a, b, a + b)):
        raise _damaged("merges.txt", "joins what vocab.json does not know")
    core = tokenizers.Tokenizer(models.BPE(vocab=dict(vocabulary), merges=pairs, unk_token=special["unk_token"]))
    space = bool(settings.get("add_prefix_space", False))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=space)
    core.add_special_tokens(list(special.values()))
    ends = {name: (special[name], vocabulary[special[name]]) for name in ("sep_token", "cls_token")}
    core.post_processor = processors.RobertaProcessing(ends["sep_token"], ends["cls_token"], trim_offsets=True, add_prefix_space=space)
    return core, special["pad_token"]


def _described(files: Mapping[str, bytes], settings: Mapping[str, Any]) -> tuple[tokenizers.Tokenizer, str]:
    if "tokenizer.json" not in files:
        raise TokenizerMissing("no tokenizer files", hint="Give the folder of the model's own tokenizer.")
    _json(files["tokenizer.json"], "tokenizer.json")
    try:
        core = tokenizers.Tokenizer.from_str(files["tokenizer.json"].decode())
    except Exception as error:  # the library raises Exception itself, nothing narrower
        raise _damaged("tokenizer.json", str(error)[:120]) from error
    core.no_truncation()
    core.no_padding()
    vocabulary = core.get_vocab(with_added_tokens=True)
    defaults = _BERT if _BERT["pad_token"] in vocabulary else _ROBERTA
    return core, _special(settings, {"pad_token": defaults["pad_token"]}, vocabulary, "tokenizer.json")["pad_token"]


def _special(settings: Mapping[str, Any], defaults: Mapping[str, str], vocabulary: Mapping[str, Any], source: str) -> dict[str, str]:
    """Special tokens as the settings name them (a string, or a mapping with `content`), each in the vocabulary."""
    named = {name: settings.get(name) or default for name, default in defaults.items()}
    special = {name: str(value["content"] if isinstance(value, dict) and "content" in value else value) for name, value in named.items()}
    absent = [token for token in special.values() if token not in vocabulary]
    if absent:
        raise _damaged(source, f"does not hold {', '.join(absent)[:120]}")
    return special


def _token_id(core: tokenizers.Tokenizer, token: str) -> int:
    row = core.token_to_id(token)
    assert row is not None, "looked up where it was built"
    return int(row)


def _read(path: Path) -> bytes:
    if path.stat().st_size > FILE_BUDGET:
        raise _damaged(path.name, f"has more than {FILE_BUDGET:,} bytes")
    return path.read_bytes()


def _text(content: bytes, name: str) -> str:
    try:
        return content.decode().replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise _damaged(name, "is not UTF-8 text") from error


def _json(content: bytes, name: str) -> dict[str, Any]:
    try:
        values = parse_json(content)
    except ValueError as error:
        raise _damaged(name, "is not JSON") from error
    if not isinstance(values, dict):
        raise _damaged(name, "is not a JSON object")
    return values


def _damaged(name: str, what: str) -> TokenizerMissing:
    return TokenizerMissing(f"{name} {what}", hint="Copy or download the tokenizer's files again.", source=name)


def _digest(name: str, content: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\0" + content).digest()
