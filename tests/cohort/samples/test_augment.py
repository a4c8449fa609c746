from __future__ import annotations

import math

import pytest
import torch

from thoracle.cohort.samples.augment import Augmentation
from thoracle.errors import InputError

_NONE = {"probability": 1.0, "rotation": 0.0, "zoom": 0.0, "shift": 0.0, "noise": 0.0}


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_nothing_asked_for_changes_nothing() -> None:
    volume = torch.rand(3, 8, 10)
    for augmentation in (Augmentation(probability=0.0), Augmentation(**_NONE)):
        assert torch.equal(augmentation(volume, generator=_generator(), pad=-1.0), volume)


def test_a_turn_is_a_turn_of_millimetres_and_what_comes_in_is_padding() -> None:
    volume = torch.full((1, 21, 41), -1.0)
    volume[:, 10, 10:31] = 1  # a bar of 20 voxels along W
    turned = Augmentation(**_NONE | {"rotation": math.pi / 2 - 1e-6})
    for seed in range(20):
        generator = _generator(seed)
        amount = (2 * torch.rand(2, generator=_generator(seed))[1] - 1).item() * turned.rotation
        changed = turned(volume, generator=generator, pad=-1.0)
        bar = (changed[0] > -0.2).nonzero().float() - torch.tensor([10.0, 20.0])
        long = bar[bar.norm(dim=1) > 6]
        assert torch.atan2(long[:, 0].abs(), long[:, 1].abs()).median().item() == pytest.approx(abs(amount), abs=0.15)
        assert changed.min() >= -1.0001


def test_a_shift_moves_and_a_zoom_keeps_the_centre() -> None:
    volume = torch.full((2, 21, 21), -1.0)
    volume[:, 8:13, 8:13] = 0.5
    moved = Augmentation(**_NONE | {"shift": 0.2})(volume, generator=_generator(), pad=-1.0)
    zoomed = Augmentation(**_NONE | {"zoom": 0.4})(volume, generator=_generator(1), pad=-1.0)

    def centre(picture: torch.Tensor) -> torch.Tensor:
        return ((picture + 1).nonzero() * (picture + 1)[picture > -1][:, None]).sum(0) / (picture + 1).sum()

    assert (centre(moved[0]) - 10).abs().max() > 0.5
    assert torch.allclose(centre(zoomed[0]), torch.tensor([10.0, 10.0]), atol=0.05)
    assert (zoomed[0] + 1).sum() != pytest.approx((volume[0] + 1).sum().item(), rel=0.05)


def test_noise_has_its_size_at_most() -> None:
    changed = Augmentation(**_NONE | {"noise": 0.02})(torch.zeros(4, 50, 50), generator=_generator(3), pad=-1.0)
    assert 0 < changed.std() <= 0.021


@pytest.mark.parametrize("amounts", [{"probability": 1.5}, {"noise": -1.0}, {"zoom": 1.0}, {"rotation": float("nan")}])
def test_amounts_that_make_no_sense_are_refused(amounts: dict[str, float]) -> None:
    with pytest.raises(InputError):
        Augmentation(**amounts)


def test_each_volume_of_a_batch_is_changed_in_its_own_way() -> None:
    augmentation, volumes = Augmentation(probability=1.0), torch.rand(1, 4, 12, 14).expand(3, -1, -1, -1)
    changed = augmentation.batch(volumes, pad=-1.0, generator=_generator())
    assert changed.shape == volumes.shape
    assert not any(torch.equal(changed[row], changed[row - 1]) for row in range(3))
    torch.manual_seed(4)
    own = augmentation.batch(volumes, pad=-1.0)
    torch.manual_seed(4)
    assert torch.equal(augmentation.batch(volumes, pad=-1.0), own)
