"""The documented sequences of commands, from the first download to the last figure, on files of the published names, columns and layouts.

A server on this machine holds them at small size. Configurations are those that ship, with smaller sizes and fewer steps.
"""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tokenizers import ByteLevelBPETokenizer
from torch import nn
from transformers import BertConfig, BertForMaskedLM, RobertaConfig, RobertaForMaskedLM

from thoracle.models.bundle.model_folder import load_state_dict, open_model
from thoracle.models.common.prompts import format_prompts
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.training.engine.config import builtin_config, read_settings

VOLUMES = {"spacing": [4.0, 4.0, 4.0], "size": [64, 80, 80]}
CTVIT = {"dim": 16, "codebook_size": 32, "image_size": 80, "patch_size": 20, "temporal_patch_size": 16, "spatial_depth": 1}
CTVIT |= {"temporal_depth": 1, "dim_head": 8, "heads": 2}
CTCLIP = {"ctvit": CTVIT, "dim_latent": 16, "n_frames": 64}
SHORT = {"steps": 2, "epochs": 0, "batch_size": 2, "num_workers": 0, "save_every": 2, "eval_every": 2, "precision": "float32"}
TEXT = {"vocab_size": 400, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}


class CXRBertModel(BertForMaskedLM):
    """CXR-BERT as published (hi-ml): a masked language model, and a projection beside it."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.cls_projection_head = nn.Sequential(nn.Linear(32, 16), nn.LayerNorm(16), nn.Linear(16, 16))


def cxr_bert(words: list[str]) -> dict[str, bytes]:
    """The files of microsoft/BiomedVLP-CXR-BERT-specialized: names, keys of config.json, and a pickle with position ids beside weights."""
    torch.manual_seed(0)
    tokenizer = Tokenizer.from_words(words)
    sizes = {**TEXT, "vocab_size": tokenizer.vocab_size, "max_position_embeddings": 512, "type_vocab_size": 2}
    state = {**CXRBertModel(BertConfig(**sizes)).state_dict()}
    state["bert.embeddings.position_ids"] = torch.arange(512)[None]
    assert not [name for name in state if "pooler" in name]
    described = {
        "_name_or_path": "microsoft/BiomedVLP-CXR-BERT-specialized", "architectures": ["CXRBertModel"],
        "attention_probs_dropout_prob": 0.25,
        "auto_map": {"AutoConfig": "configuration_cxrbert.CXRBertConfig", "AutoModel": "modeling_cxrbert.CXRBertModel"},
        "classifier_dropout": None, "gradient_checkpointing": False, "hidden_act": "gelu", "hidden_dropout_prob": 0.25,
        "initializer_range": 0.02, "layer_norm_eps": 1e-12, "model_type": "cxr-bert", "pad_token_id": 0,
        "position_embedding_type": "absolute", "projection_size": 128, "torch_dtype": "float32", "transformers_version": "4.18.0",
        "use_cache": True, **sizes,
    }  # fmt: skip
    return {
        "config.json": json.dumps(described).encode(),
        "pytorch_model.bin": pickled(state),
        "vocab.txt": tokenizer.files["vocab.txt"],
        "tokenizer_config.json": b'{"do_lower_case": true, "model_max_length": 512, "tokenizer_class": "BertTokenizer"}',
        "special_tokens_map.json": b"{}",
        "modeling_cxrbert.py": b"raise RuntimeError('code of a repository')",
    }


def radbert(words: list[str]) -> dict[str, bytes]:
    """The files of a RoBERTa as zzxslp/RadBERT-RoBERTa-4m has them."""
    torch.manual_seed(0)
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(words, vocab_size=380, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    values = json.loads(bpe.to_str())["model"]
    sizes = {**TEXT, "vocab_size": len(values["vocab"]), "max_position_embeddings": 514, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
    described = {
        **sizes,
        "model_type": "roberta",
        "pad_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "architectures": ["RobertaForMaskedLM"],
    }
    merges = "\n".join(["#version: 0.2", *(merge if isinstance(merge, str) else " ".join(merge) for merge in values["merges"])])
    return {
        "config.json": json.dumps(described).encode(),
        "pytorch_model.bin": pickled(RobertaForMaskedLM(RobertaConfig(**described)).state_dict()),
        "vocab.json": json.dumps(values["vocab"]).encode(),
        "merges.txt": merges.encode(),
        "tokenizer_config.json": b'{"tokenizer_class": "RobertaTokenizer"}',
    }


def pickled(state: Mapping[str, torch.Tensor]) -> bytes:
    file = io.BytesIO()
    torch.save(dict(state), file)
    return file.getvalue()


def shrunk(name: str, **changes: Any) -> Path:
    """A configuration that ships, in the working folder, with other sizes; nested settings are replaced one by one."""
    values = read_settings(builtin_config(name))
    for key, value in changes.items():
        values[key] = {**(values.get(key) or {}), **value} if isinstance(value, dict) and key != "model" else value
    Path(f"{name}.yaml").write_text(yaml.safe_dump(values))
    return Path(f"{name}.yaml")


def documented(page: str, heading: str) -> list[str]:
    """The commands of the first block below a heading, without who starts them, on configurations of the working folder."""
    text = (Path(__file__).parents[2] / "docs" / page).read_text().split(f"## {heading}\n", 1)[1]
    lines = text.split("```sh\n", 1)[1].split("```", 1)[0].splitlines()
    return [re.sub(r"--(config|preprocess) ([\w-]+)", r"--\1 \2.yaml", line.split("thoracle ", 1)[1]) for line in lines]


@pytest.fixture
def done(command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a command in an empty folder; it must end well."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THORACLE_CACHE", str(tmp_path / "cache"))

    def run(line: str) -> Any:
        ran = command(*shlex.split(line))
        assert ran.status == 0, f"thoracle {line}\n{ran.out}\n{ran.err}"
        return ran

    return run


def publish_ct_rate(hub: Any, folder: Path) -> None:
    """Put a folder of phantoms where the hub has CT-RATE's files; patients of even numbers are held out, so that few scans are enough."""
    held, name = hub.repositories.setdefault("ibrahimhamamci/CT-RATE", {}), re.compile(r"train_(\d*[02468])_")
    for path in [*folder.glob("train/*/*/*.nii.gz"), *folder.glob("valid/*/*/*.nii.gz")]:
        volume = name.sub(r"valid_10\1_", path.name)
        split, patient, letter, _ = volume.split("_")
        held[f"dataset/{split}_fixed/{split}_{patient}/{split}_{patient}_{letter}/{volume}"] = path.read_bytes()
    for train, valid in [
        ("metadata/train_metadata.csv", "metadata/validation_metadata.csv"),
        ("radiology_text_reports/train_reports.csv", "radiology_text_reports/validation_reports.csv"),
        ("multi_abnormality_labels/train_predicted_labels.csv", "multi_abnormality_labels/valid_predicted_labels.csv"),
    ]:
        (header, *rows), (_, *others) = (list(csv.reader((folder / table).read_text().splitlines())) for table in (train, valid))
        rows = [[name.sub(r"valid_10\1_", row[0]), *row[1:]] for row in rows] + others
        for table, split in ((train, "train_"), (valid, "valid_")):
            file = io.StringIO()
            csv.writer(file).writerows([header, *(row for row in rows if row[0].startswith(split))])
            held[f"dataset/{table}"] = file.getvalue().encode()


@pytest.mark.slow
def test_ct_rate_from_the_first_download_to_chat(done: Any, hub: Any, tmp_path: Path) -> None:
    done("phantom --out phantoms --num-scans 24 --workers 1")
    publish_ct_rate(hub, tmp_path / "phantoms")
    hub.repositories["microsoft/BiomedVLP-CXR-BERT-specialized"] = cxr_bert([*format_prompts(), "Findings of a chest CT."])

    shrunk("ct-clip", **SHORT, model=CTCLIP, preprocess=VOLUMES)
    shrunk("vocabfine", **{**SHORT, "batch_size": 1})
    shrunk("classifier", **SHORT)
    ran = {line: done(line) for line in documented("train.md", "Day one on CT-RATE")}
    assert sorted(path.name for path in Path("cxr-bert").iterdir() if path.is_file()) == [
        "config.json", "pytorch_model.bin", "tokenizer_config.json", "vocab.txt",
    ]  # fmt: skip
    prepared = ran["prepare CT-RATE --layout ct-rate --preprocess ct-clip.yaml --out cohort"].err
    assert "refused" not in prepared or "0 refused" in prepared
    assert "are trained" in ran["train contrastive --config ct-clip.yaml --dry-run"].out
    trained = ran["train contrastive --config ct-clip.yaml"].err
    assert "Text encoder of cxr-bert" in trained
    assert "no pooler" in trained
    clip = open_model(Path("runs/ct-clip/model"), verify=True)
    assert (clip.config.bert.hidden_size, clip.config.bert.hidden_dropout_prob) == (32, 0.25)
    done("train contrastive --config ct-clip.yaml --resume")
    scan = next(path for path in Path("CT-RATE").rglob("*.nii.gz") if "valid_fixed" in str(path))
    done(f"detect {scan} --model runs/ct-clip/model --json findings.json")
    assert {"report to volume", "volume to volume"} <= json.loads(Path("retrieval/results.json").read_text())["tasks"].keys()
    done("export runs/lipro/model --onnx --cohort cohort --limit 4 --out lipro.onnx")

    done("vqa cohort --out ours.json")
    as_published(Path("ours.json"), Path("vqa.json"))
    small = {
        "phantom_lm": {"vocab_size": 600, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    }
    config = shrunk("phantom-chat", **SHORT, **small, disclaimer="Knows phantoms.", stage="base")
    done(f"train chat --config {config} --stage base --cohort cohort --questions vqa.json --out base")
    projector = {"num_queries": 4, "dim": 16, "attention_dim": 8, "heads": 8, "num_positions": 64}
    sizes = {**SHORT, "parallelism": "ddp", "language_model": "base/model", "encoder": "runs/ct-clip/model", "sequence_length": 512}
    done(f"train chat --config {shrunk('ct-chat', **sizes, projector=projector)}")
    config = shrunk("ct-chat-lora", **sizes, projector=projector, adapter={"rank": 2, "alpha": 4}, gradient_accumulation_steps=2)
    done(f"train chat --config {config}")
    done("evaluate chat cohort --model runs/ct-chat/model --questions vqa.json --max-tokens 4 --out chat-evaluation")
    ran = done(f"chat {scan} --model runs/ct-chat/model --ask Effusion? --max-tokens 4")
    assert "It has never seen a patient" in ran.out or "Knows phantoms" in ran.out or ran.out


def as_published(ours: Path, out: Path) -> None:
    """Write questions with the keys that published files have: no topic, and nothing that they are about."""
    entries = json.loads(ours.read_text())
    for entry in entries:
        entry["conversations"] = [{key: turn[key] for key in ("from", "value", "type") if key in turn} for turn in entry["conversations"]]
    out.write_text(json.dumps([{key: entry[key] for key in ("id", "image", "conversations")} for entry in entries]))


@pytest.mark.slow
def test_bimcv_r_has_no_labels_and_is_trained_and_measured_without(done: Any, hub: Any, tmp_path: Path) -> None:
    done("phantom --out phantoms --num-scans 10 --layout bimcv-r --workers 1")
    root = tmp_path / "phantoms"
    names = ("CT", "meta/")
    hub.repositories["cyd0806/BIMCV-R"] = {
        name: path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and (name := path.relative_to(root).as_posix()).startswith(names)
    }
    table = hub.repositories["cyd0806/BIMCV-R"]["meta/curated_ct_report_path_En.csv"].decode()
    assert table.splitlines()[0] == "Report_en,path"
    hub.repositories["dmis-lab/biobert-v1.1"] = cxr_bert([*format_prompts(), "There is no opacity."])

    done("fetch bimcv-r --out BIMCV-R --include CT*/ct/* --include meta/*")
    model = {
        "size": VOLUMES["size"],
        "resnet": {"blocks": [1, 1, 1, 1], "widths": [4, 4, 8, 8], "bottleneck": False},
        "dim_latent": 8,
        "heads": 2,
    }
    config = shrunk("medfinder-bimcv-r", **SHORT, model=model, preprocess=VOLUMES, gradient_cache_chunk=1)
    done(f"prepare BIMCV-R --layout bimcv-r --split-seed 60 --dev-share 0.3 --preprocess {config} --out cohort")
    assert "are trained" in done(f"train medfinder --config {config} --dry-run").out
    ran = done(f"train medfinder --config {config}")
    assert "R@5" in ran.err
    assert "Text encoder of" in ran.err
    finder = open_model(Path("runs/medfinder/model"), verify=True)
    source = torch.load(io.BytesIO(hub.repositories["dmis-lab/biobert-v1.1"]["pytorch_model.bin"]), weights_only=True)
    kept = load_state_dict(finder)["text_transformer.embeddings.word_embeddings.weight"]
    assert torch.equal(kept, source["bert.embeddings.word_embeddings.weight"])
    done("index cohort --model runs/medfinder/model --out cases --keep-identifiers")
    done("evaluate retrieval cases --protocol bimcv-r --split valid --resamples 5 --out found")
    assert {"report to volume", "volume to report"} <= json.loads(Path("found/results.json").read_text())["tasks"].keys()


def test_a_labeler_begins_with_radbert_and_labels(done: Any, hub: Any, tmp_path: Path, data_dir: Path) -> None:
    hub.repositories["zzxslp/RadBERT-RoBERTa-4m"] = radbert([*format_prompts(), "No pleural effusion is seen."])
    rows = (data_dir / "reports" / "ctclip_train.csv").read_text().splitlines(keepends=True)
    (tmp_path / "reports.csv").write_text("".join(rows[:61]))
    config = shrunk("labeler", **{**SHORT, "batch_size": 8}, reports="reports.csv", out="runs/labeler")
    ran = done(f"train labeler --config {config} --start zzxslp/RadBERT-RoBERTa-4m --text-column report_text")
    assert "names behind 'roberta.'" in ran.err
    assert open_model(Path("runs/labeler/model"), verify=True).config.position_scheme == "roberta"
