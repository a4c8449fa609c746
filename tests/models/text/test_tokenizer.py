"""Ids equal those of transformers, from files made here: WordPiece, byte-level BPE and tokenizer.json."""

from __future__ import annotations

import json
import string
from pathlib import Path

import pytest
import tokenizers
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers, trainers
from transformers import BertTokenizer, RobertaTokenizer

from thoracle.errors import InputError, TokenizerMissing
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.types import ABNORMALITIES

PROMPTS = [f"{a} {says} present." for a in ABNORMALITIES for says in ("is", "is not")]
TEXTS = [
    *PROMPTS,
    "",
    "  Bilateral   GROUND-GLASS opacities;\n12 mm nodule (LLL)\t",
    "Über-große Läsion, naïve café — 5 µm",
    "肺 nodule 结节",
    "a" * 120,
    "word [SEP] and </s> and [MASK] <mask>",
    "zero\u200bwidth\u00a0space\x00null",
]


@pytest.fixture(scope="module")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    folder.joinpath("vocab.txt").write_bytes(Tokenizer.from_words(PROMPTS).files["vocab.txt"])
    config = {"do_lower_case": True, "tokenizer_class": "CXRBertTokenizer", "auto_map": {"AutoTokenizer": ["evil--code.Tokenizer", None]}}
    folder.joinpath("tokenizer_config.json").write_text(json.dumps(config))
    folder.joinpath("code.py").write_text("raise SystemExit('remote code ran')")
    return folder


@pytest.fixture(scope="module")
def roberta_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("roberta")
    core = tokenizers.Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    core.train_from_iterator(PROMPTS * 3, trainer)
    core.model.save(str(folder))
    return folder


def _same(ours: Tokenizer, theirs: object, texts: list[str], max_length: int = 512) -> None:
    encoded = ours.encode(texts, max_length=max_length)
    expected = theirs(texts, padding="longest", truncation=True, max_length=max_length, return_tensors="pt")  # type: ignore[operator]
    assert encoded.input_ids_BN.dtype == encoded.attention_mask_BN.dtype == torch.int64
    assert torch.equal(encoded.input_ids_BN, expected["input_ids"])
    assert torch.equal(encoded.attention_mask_BN, expected["attention_mask"])


@pytest.mark.parametrize("max_length", [512, 8, 2])
def test_wordpiece_equals_bert(bert_folder: Path, max_length: int) -> None:
    theirs = BertTokenizer.from_pretrained(str(bert_folder), do_lower_case=True)
    _same(Tokenizer.from_folder(bert_folder), theirs, TEXTS, max_length)


@pytest.mark.parametrize("max_length", [512, 8, 2])
def test_byte_level_equals_roberta(roberta_folder: Path, max_length: int) -> None:
    _same(Tokenizer.from_folder(roberta_folder), RobertaTokenizer.from_pretrained(str(roberta_folder)), TEXTS, max_length)


@given(text=st.text(max_size=60) | st.text(alphabet=string.printable, max_size=200))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_equals_bert(bert_folder: Path, text: str) -> None:
    _same(Tokenizer.from_folder(bert_folder), BertTokenizer.from_pretrained(str(bert_folder), do_lower_case=True), [text, "lung nodule"])


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_a_saved_tokenizer_json_alone_is_enough(bert_folder: Path, roberta_folder: Path, tmp_path: Path, kind: str) -> None:
    """What transformers writes when it saves again; truncation and padding stored in it are not ours."""
    theirs = (
        BertTokenizer.from_pretrained(str(bert_folder), do_lower_case=True)
        if kind == "bert"
        else RobertaTokenizer.from_pretrained(str(roberta_folder))
    )
    theirs(["x"], truncation=True, max_length=4, padding="max_length")
    theirs.save_pretrained(str(tmp_path))
    for extra in ("vocab.txt", "vocab.json", "merges.txt"):
        (tmp_path / extra).unlink(missing_ok=True)
    _same(Tokenizer.from_folder(tmp_path), theirs, TEXTS, 32)


def test_padding_goes_to_the_longest_only_and_the_closing_token_stays(bert_folder: Path) -> None:
    tokenizer = Tokenizer.from_folder(bert_folder)
    encoded = tokenizer.encode(["lung nodule", "lung nodule is present " * 200], max_length=20)
    assert encoded.input_ids_BN.shape == (2, 20)
    assert encoded.attention_mask_BN.sum(1).tolist() == [4, 20]
    assert encoded.input_ids_BN[1, -1] == encoded.input_ids_BN[0, 3]


def test_the_fingerprint_follows_the_files(bert_folder: Path, tmp_path: Path) -> None:
    first, again = Tokenizer.from_folder(bert_folder), Tokenizer.from_folder(bert_folder)
    assert first.fingerprint == again.fingerprint
    (tmp_path / "vocab.txt").write_bytes(first.files["vocab.txt"] + b"more\n")
    assert Tokenizer.from_folder(tmp_path).fingerprint != first.fingerprint


def test_a_vocabulary_of_words_knows_them_all() -> None:
    tokenizer = Tokenizer.from_words(PROMPTS)
    unknown = tokenizer.encode(["[UNK]"]).input_ids_BN[0, 1]
    assert not (tokenizer.encode([*PROMPTS, "any other words 42"]).input_ids_BN == unknown).any()
    assert int(tokenizer.encode(PROMPTS).input_ids_BN.max()) < tokenizer.vocab_size


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "neither vocab.txt"),
        ({"vocab.txt": b"only\nwords\n"}, r"\[PAD\]"),
        ({"vocab.txt": b"\xff\xfe"}, "UTF-8"),
        ({"vocab.txt": b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n", "tokenizer_config.json": b"[1"}, "JSON"),
        ({"vocab.json": b"[]", "merges.txt": b""}, "JSON object"),
        ({"vocab.json": b'{"<s>":0,"<pad>":1,"</s>":2,"<unk>":3,"<mask>":4}', "merges.txt": b"a b\n"}, "merges.txt"),
        ({"vocab.json": b'{"<s>":-1,"<pad>":1,"</s>":2,"<unk>":3,"<mask>":4}', "merges.txt": b""}, "rows"),
        ({"tokenizer.json": b"{}"}, "tokenizer.json"),
        ({"tokenizer.json": b'{"model": {"type": "Nonsense"}}'}, "tokenizer.json"),
    ],
)
def test_absent_and_damaged_files_are_named(tmp_path: Path, files: dict[str, bytes], says: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(TokenizerMissing, match=says):
        Tokenizer.from_folder(tmp_path)


def test_half_a_surrogate_is_read_as_a_mark_that_stands_for_nothing() -> None:
    """As JSON lines and the server's requests may hold one; tokenizers refuse it with a TypeError."""
    tokenizer = Tokenizer.from_words(["a nodule ?"])
    broken, mended = "a \ud83d nodule", "a ? nodule"
    assert torch.equal(tokenizer.encode([broken]).input_ids_BN, tokenizer.encode([mended]).input_ids_BN)
    assert tokenizer.count_cut([broken], max_length=4) == 1
    assert tokenizer.windows(broken, max_length=64) == [broken]


def test_nothing_to_encode(bert_folder: Path) -> None:
    with pytest.raises(InputError):
        Tokenizer.from_folder(bert_folder).encode([])


@pytest.mark.parametrize("max_length", [16, 24, 512])
def test_windows_hold_every_word_and_are_not_cut(bert_folder: Path, max_length: int) -> None:
    tokenizer = Tokenizer.from_folder(bert_folder)
    text = "no effusion is seen in the lung " * 30
    windows = tokenizer.windows(text, max_length=max_length)
    assert tokenizer.count_cut([text, "lung"], max_length=max_length) == (max_length < 512)
    assert tokenizer.count_cut(windows, max_length=max_length) == 0
    assert (windows == [text]) == (max_length == 512)
    place = 0
    for window in windows:  # each begins in or right behind the one before it
        begin = text.index(window, max(0, place - len(window)))
        assert not text[place:begin].strip()
        place = begin + len(window)
    assert not text[place:].strip()
