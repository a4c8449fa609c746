"""A prepared cohort that runs of any task begin with."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from thoracle.cohort.prepare import prepare
from thoracle.inference.demo.assets import write_scan
from thoracle.models.bundle.model_folder import save_model
from thoracle.models.common.prompts import format_prompts
from thoracle.models.ctclip.model import CTCLIP
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.training.contrastive.ctclip import ContrastiveConfig
from thoracle.training.engine.config import load_config
from thoracle.types import ABNORMALITIES

CONFIG = Path(__file__).parents[3] / "configs" / "phantom-tiny.yaml"
SPLITS = ("train", "train", "train", "train", "dev", "dev", "valid", "valid")


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight patients, prepared as the configuration of the demo asks for."""
    root = tmp_path_factory.mktemp("scans")
    with (root / "scans.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "patient", "split", "findings", *ABNORMALITIES])
        for number, split in enumerate(SPLITS):
            sketch = nib.load(write_scan(root / f"{number}.nii.gz"))
            nib.save(nib.Nifti1Image(np.asarray(sketch.dataobj).astype(np.int16) + np.int16(number), sketch.affine), sketch.get_filename())
            words = f"There is {ABNORMALITIES[number].lower()}."
            writer.writerow([f"{number}.nii.gz", number, split, words, *(int(column % 2 == number % 2) for column in range(18))])
    out = root / "cohort"
    done = prepare(root, layout="folder", out=out, preprocess=load_config(CONFIG, ContrastiveConfig).preprocess, keep_ids=True)
    assert (done.volumes, done.refused) == (8, 0)
    return out


@pytest.fixture
def start(tmp_path: Path) -> Path:
    """A random model as the demo's configuration makes it, whose words are the prompts'."""
    torch.manual_seed(0)
    demo = load_config(CONFIG, ContrastiveConfig)
    facts = {"labels": ABNORMALITIES, "tokenizer": Tokenizer.from_words(format_prompts()), "licence": "", "trained": True}
    tensors = CTCLIP(demo.model).state_dict()
    save_model(
        tmp_path / "start", kind="ct-clip", config=demo.model, preprocess=demo.preprocess, tensors=tensors, **facts, caution=demo.disclaimer
    )
    return tmp_path / "start"
