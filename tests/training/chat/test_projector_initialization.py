"""A new projector: widths of its neighbours, rows of findings that are fitted and named in the language model's words."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.training import chat_parts
from thoracle.errors import InputError
from thoracle.models.chat.language_model import LanguageModel
from thoracle.models.chat.scan_tokens import ScanTokens
from thoracle.training.chat.projector_initialization import new_projector
from thoracle.training.chat.ridge_probe import fit_ridge_probe
from thoracle.training.chat.scan_features import ScanFeatures
from thoracle.training.chat.task import NewProjectorConfig
from thoracle.types import ABNORMALITIES

CONFIG = NewProjectorConfig(num_queries=3, dim=8, attention_dim=8, heads=2, num_positions=8, num_findings=18)
NODULE = ABNORMALITIES.index("Lung nodule")


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> ScanTokens:
    return ScanTokens(chat_parts.write_encoder(tmp_path_factory.mktemp("encoder") / "model"))


@pytest.fixture(scope="module")
def language() -> LanguageModel:
    return chat_parts.language()


def scans_of(tokens: ScanTokens, *, count: int, seed: int) -> tuple[ScanFeatures, dict[str, Tensor]]:
    """Random codes; where there is a nodule, the last token is code 5, where there is none, code 9. Of all else nobody says."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, 32, (count, *tokens.grid), generator=generator, dtype=torch.int32)
    there = torch.rand(count, generator=generator) < 0.5
    codes[:, -1, -1, -1] = torch.where(there, 5, 9).int()
    findings = torch.full((count, 18, 3), torch.nan)
    findings[:, NODULE, 0] = there.float()
    names = [f"v{k}" for k in range(count)]
    return ScanFeatures(tokens=tokens, compressed=dict(zip(names, codes, strict=True)).__getitem__), dict(zip(names, findings, strict=True))


def test_widths_are_those_of_the_encoder_and_of_the_language_model(tokens: ScanTokens, language: LanguageModel) -> None:
    scans, _ = scans_of(tokens, count=2, seed=0)
    projector = new_projector(replace(CONFIG, num_positions=0, num_findings=0), scans, language, fitted_to={})
    assert (projector.config.dim_context, projector.config.hidden_size) == (16, 32)
    assert projector.findings is None
    assert projector(tokens.expand(scans.compressed("v0")[None])).shape == (1, 3, 32)


def test_positions_that_are_left_open_are_as_many_as_the_encoder_gives(tokens: ScanTokens, language: LanguageModel) -> None:
    scans, _ = scans_of(tokens, count=2, seed=0)
    for change, count in (({"num_positions": None}, 8), ({"num_positions": 8, "dim_context": 16, "hidden_size": 32}, 8)):
        projector = new_projector(replace(CONFIG, num_findings=0, **change), scans, language, fitted_to={})
        assert (projector.config.num_positions, projector.config.dim_context, projector.config.hidden_size) == (count, 16, 32)
    for contradiction in ({"heads": 3}, {"num_positions": 0}):
        with pytest.raises(InputError, match=r"heads 3|num_findings needs num_positions"):
            replace(CONFIG, **contradiction)


def test_findings_begin_as_the_fit_and_say_it_in_the_language_models_words(tokens: ScanTokens, language: LanguageModel) -> None:
    scans, findings = scans_of(tokens, count=12, seed=1)
    rows = new_projector(CONFIG, scans, language, fitted_to=findings).findings
    assert rows is not None
    codes = torch.stack([scans.compressed(name) for name in findings])
    weight, bias = fit_ridge_probe(codes, tokens.expand, torch.stack([*findings.values()]).flatten(1))
    assert torch.equal(rows.weight, weight)
    assert torch.equal(rows.bias, bias)
    assert not rows.weight.requires_grad
    embedding = language.model.get_input_embeddings().weight
    for row, word in ((rows.name[NODULE], " lung nodule"), (rows.said[0], "Yes"), (rows.said[1], "No"), (rows.said[3], "Right")):
        ids = language.tokenizer(word, add_special_tokens=False)["input_ids"]
        torch.testing.assert_close(row, embedding[ids].mean(dim=0))
    assert len(language.tokenizer(" lung nodule", add_special_tokens=False)["input_ids"]) == 1


def test_a_nodule_is_read_from_new_scans_and_of_what_nobody_says_is_as_likely_as_not(tokens: ScanTokens, language: LanguageModel) -> None:
    fitted, labels = scans_of(tokens, count=60, seed=2)
    rows = new_projector(CONFIG, fitted, language, fitted_to=labels).findings
    assert rows is not None
    scans, findings = scans_of(tokens, count=40, seed=3)
    codes = torch.stack([scans.compressed(name) for name in findings])
    with torch.no_grad():
        shown = (tokens.expand(codes).flatten(1) @ rows.weight.T + rows.bias).sigmoid().view(40, 18, 3)
    there = torch.stack([finding[NODULE, 0] for finding in findings.values()])
    assert ((shown[:, NODULE, 0] > 0.5) == (there == 1)).float().mean() > 0.9
    shown[:, NODULE, 0] = 0.5
    assert torch.equal(shown, torch.full_like(shown, 0.5))


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"num_positions": 9}, "projector.num_positions is 9, a scan has 8 tokens"),
        ({"num_findings": 17}, "projector.num_findings is 17, there are 18"),
        ({"dim_context": 512}, "projector.dim_context is 512, a scan's tokens are 16 wide"),
        ({"hidden_size": 4096}, "projector.hidden_size is 4096, the language model's embeddings are 32 wide"),
    ],
)
def test_sizes_that_are_not_the_encoders_are_refused(change: dict, detail: str, tokens: ScanTokens, language: LanguageModel) -> None:
    scans, findings = scans_of(tokens, count=4, seed=0)
    with pytest.raises(InputError) as caught:
        new_projector(replace(CONFIG, **change), scans, language, fitted_to=findings)
    assert caught.value.detail == detail


def test_weights_beside_the_rows_of_findings_are_random(tokens: ScanTokens, language: LanguageModel) -> None:
    scans, findings = scans_of(tokens, count=4, seed=0)
    torch.manual_seed(1)
    first = new_projector(CONFIG, scans, language, fitted_to=findings)
    second = new_projector(CONFIG, scans, language, fitted_to=findings)
    assert not torch.equal(first.attn_pool.query, second.attn_pool.query)
    assert torch.equal(first.findings.weight, second.findings.weight)
