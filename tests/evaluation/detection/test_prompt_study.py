from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from thoracle.errors import InputError
from thoracle.evaluation.detection.prompt_study import PromptTemplates, compare_templates, read_wordings

SHIPPED = Path(__file__).parents[3] / "configs" / "prompts" / "chest-ct.yaml"
AXES = {"is a": (1, 0, 0), "no a": (-1, 0, 0), "is b": (0, 1, 0), "no b": (0, -1, 0), "maybe a": (0, 0, 1), "maybe b": (0, 0, 1)}
AXES |= {"not maybe a": (0, 0, -1), "not maybe b": (0, 0, -1)}
WORDINGS = PromptTemplates(
    templates={"good": ("is {abnormality}", "no {abnormality}"), "vague": ("maybe {abnormality}", "not maybe {abnormality}")},
    ensembles={"both": ("good", "vague")},
)


def encode(texts: Sequence[str]) -> np.ndarray:
    return np.array([AXES[text] for text in texts], dtype=float)


def test_what_ships_is_read() -> None:
    wordings = read_wordings(SHIPPED)
    assert wordings.templates["published zero-shot"] == ("{abnormality} is present.", "{abnormality} is not present.")
    assert set(wordings.ensembles["all"]) == set(wordings.templates)


def test_each_wording_is_scored_and_the_spread_is_that_of_single_templates() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(2, size=(80, 2)).astype(float)
    image = np.concatenate([2 * truth - 1, np.zeros((80, 1))], axis=1) + random.normal(size=(80, 3))
    found = compare_templates(
        WORDINGS, image_NL=image, truth_NK=truth, patients=list(map(str, range(80))), labels=("a", "b"), encode=encode, resamples=100
    )
    good = [roc_auc_score(truth[:, k], image[:, k]) for k in range(2)]
    vague = [roc_auc_score(truth[:, k], image[:, 2]) for k in range(2)]
    both = [roc_auc_score(truth[:, k], image[:, k] + image[:, 2]) for k in range(2)]  # the mean of both directions, normalised
    for name, values in (("good", good), ("vague", vague), ("both", both)):
        assert found.macro[name].value == pytest.approx(np.mean(values))
        assert found.macro[name].low < found.macro[name].value < found.macro[name].high
        assert [found.by_label[name][label].value for label in "ab"] == pytest.approx(values)
    assert list(found.spread.values()) == pytest.approx(np.abs(np.subtract(good, vague)))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected templates"),
        ("[1]", "expected templates"),
        ("templates: {}", "0 templates"),
        ("templates: {a: ['{abnormality}.']}", "template 'a' must be two different texts"),
        ("templates: {a: ['yes', 'no']}", "template 'a' must be two different texts"),
        ("templates: {a: ['{abnormality}', '{abnormality}']}", "template 'a' must be two different texts"),
        ("templates: {a: ['{abnormality}', 'no {abnormality}']}\nensembles: {e: [b]}", "ensemble 'e' names b"),
        ("templates: {a: ['{abnormality}', 'no {abnormality}']}\nensembles: {a: [a]}", "ensemble 'a' names"),
        ("templates: {a: ['{abnormality}', 'no {abnormality}']}\nensembles: {e: []}", "ensemble 'e' names"),
        ("templates: {a: ['{abnormality}', 'no {abnormality}']}\nensembles: 3", "ensemble 'ensembles' names"),
        ("template: 1", "expected templates"),
        ("a: [", "is not YAML"),
        ("templates:\n  a: ['{abnormality}', 'no {abnormality}']\n  a: ['{abnormality}.', 'no {abnormality}.']", "'a' stands twice"),
        ("!!python/object/apply:os.system ['true']", "is not YAML"),
    ],
)
def test_files_that_are_no_wordings_are_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "wordings.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        read_wordings(path)
