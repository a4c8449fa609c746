"""A prepared cohort as training and evaluation see it; the only place of this room, with augment.py, that knows torch."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset

from thoracle.cohort.manifest import Cohort, CohortEntry, open_cohort
from thoracle.cohort.reports import Section
from thoracle.cohort.samples.augment import Augmentation
from thoracle.cohort.samples.volume_cache import read_hounsfield, stored_shape
from thoracle.cohort.sources import Split
from thoracle.ct.preprocess import Preprocessing
from thoracle.ct.recipes.orientation import ZXY, reorder
from thoracle.errors import InputError

Part = Literal["report", "labels"]


class LazyVolume(Protocol):
    """Hold a volume that is read in two steps: what is stored into a buffer, and a model's input made of that on a device."""

    @property
    def size(self) -> tuple[int, int, int]: ...  # noqa: D102
    def read_into(self, hu_ZHW: Tensor, /) -> None: ...  # noqa: D102
    def write_input(self, hu_ZHW: Tensor, input_ZHW: Tensor, /) -> None: ...  # noqa: D102


@dataclass(frozen=True, kw_only=True)
class CachedVolume:
    """Hold where a volume lies in the cache, and what makes a model's input of it.

    Attributes:
        path: of its file.
        preprocess: of the cohort; its window is applied already.
        augmentation: None leaves the volume as it is.
        seed: of the augmentation.
    """

    path: Path
    preprocess: Preprocessing
    augmentation: Augmentation | None = None
    seed: int = 0

    @property
    def size(self) -> tuple[int, int, int]:
        """Return its voxels along the axes of the preprocessing; raises CacheDamaged where only its file tells them, and is damaged."""
        return stored_shape(self.path) if self.preprocess.varies else self.preprocess.size

    def read_into(self, hu_ZHW: Tensor) -> None:
        """Read its whole HU into a buffer on the CPU, int16.

        Raises:
            CacheDamaged: it is not what was written, or was written for another model.
        """
        read_hounsfield(self.path, hu_ZHW.numpy(), scale=self.preprocess.intensity_scale, zero=self.preprocess.zero_hu)

    def write_input(self, hu_ZHW: Tensor, input_ZHW: Tensor) -> None:
        """Scale and augment what was read, on its device, into float32 there."""
        input_ZHW.copy_(hu_ZHW)
        if self.preprocess.zero_hu:
            input_ZHW.sub_(self.preprocess.zero_hu)
        # By a tensor, since a GPU multiplies by a number's inverse instead, which rounds otherwise.
        input_ZHW.div_(torch.full((), self.preprocess.intensity_scale, device=input_ZHW.device))
        if self.augmentation is not None:
            generator = torch.Generator().manual_seed(self.seed)
            view_ZHW = input_ZHW.permute(reorder((0, 1, 2), self.preprocess.axes, ZXY))
            view_ZHW.copy_(self.augmentation(view_ZHW, generator=generator, pad=self.preprocess.pad_value))


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """Hold one volume with its report and labels.

    Attributes:
        stored: the volume, not read yet.
        report: cleaned text of the chosen section; "" where there is none.
        labels: (18,) float32, 0 or 1 in the order of `ABNORMALITIES`, NaN where nobody says.
        volume: the volume's name.
        scan: the examination it is of.
        patient: whose.
    """

    stored: LazyVolume
    report: str
    labels: Tensor
    volume: str
    scan: str
    patient: str

    def read_volume(self) -> Tensor:
        """Read (1, Z, H, W) float32, units of the config's scale (1000 HU), as `preprocess` gives it to half a HU.

        Raises:
            CacheDamaged: the cached volume is not what was written.
        """
        hu_ZHW = torch.empty(self.stored.size, dtype=torch.int16)
        self.stored.read_into(hu_ZHW)
        input_ZHW = torch.empty(self.stored.size)
        self.stored.write_input(hu_ZHW, input_ZHW)
        return input_ZHW[None]


class CohortDataset(Dataset[Sample]):
    """Serve the volumes of one split, in order of name; an index gives the same sample in every process, and changes only with `set_epoch`.

    Args:
        cohort: its folder, or what `open_cohort` gave.
        split: "train", "dev", "valid" or "test".
        section: which of the report's words.
        needs: leave out volumes that have no report (in the chosen section), or not all labels.
        augmentation: none by default.
        excerpt: words of the report at most, a run of them that begins anywhere; 0 gives all.
        seed: of the augmentation and the excerpt, with the epoch and the volume's name.

    Raises:
        CohortUnfinished: preparation was not finished.
        InputError: no volume is left.
    """

    def __init__(
        self,
        cohort: str | Path | Cohort,
        *,
        split: Split,
        section: Section = "findings",
        needs: Collection[Part] = (),
        augmentation: Augmentation | None = None,
        excerpt: int = 0,
        seed: int = 0,
    ) -> None:
        self.cohort = cohort if isinstance(cohort, Cohort) else open_cohort(cohort)
        self.entries = tuple(entry for entry in self.cohort.entries if entry.split == split and _has(entry, needs, section))
        if not self.entries:
            needed = f" with {' and '.join(sorted(needs))}" if needs else ""
            raise InputError(f"no volume{needed} in split {split!r}", hint="Choose another split, or what volumes need.")
        self._section, self._augmentation, self._excerpt, self._seed = section, augmentation, excerpt, seed
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]  # workers that live on see it change

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Sample:
        entry = self.entries[index]
        return Sample(
            stored=self.stored_volume(index, int(self._epoch)),
            report=self.report(entry),
            labels=torch.tensor([float("nan") if label is None else float(label) for label in entry.labels]),
            volume=entry.volume,
            scan=entry.scan,
            patient=entry.patient,
        )

    def stored_volume(self, index: int, epoch: int) -> CachedVolume:
        """Return a sample's volume, not read yet, as an epoch augments it, whichever is set."""
        entry = self.entries[index]
        return CachedVolume(
            path=self.cohort.folder / entry.cache,
            preprocess=self.cohort.preprocess,
            augmentation=self._augmentation,
            seed=self._draw_seed(entry, "volume", epoch),
        )

    def set_epoch(self, epoch: int) -> None:
        """Draw the augmentation of an epoch; the same epoch draws the same."""
        self._epoch.fill_(epoch)

    def report(self, entry: CohortEntry) -> str:
        """Return the text of an entry's report that this epoch reads."""
        text = entry.report.text(self._section)
        words = text.split()
        if not self._excerpt or len(words) <= self._excerpt:
            return text
        generator = torch.Generator().manual_seed(self._draw_seed(entry, "report", int(self._epoch)))
        first = int(torch.randint(len(words) - self._excerpt + 1, (), generator=generator))
        return " ".join(words[first : first + self._excerpt])

    def _draw_seed(self, entry: CohortEntry, of: str, epoch: int) -> int:
        """One for the volume and another for the report, so that neither depends on whether the other is changed."""
        salt = "" if of == "volume" else f"\0{of}"
        digest = sha256(f"{self._seed}\0{epoch}\0{entry.volume}{salt}".encode()).digest()
        return int.from_bytes(digest[:8]) >> 1


def _has(entry: CohortEntry, needs: Collection[Part], section: Section) -> bool:
    return ("report" not in needs or bool(entry.report.text(section))) and ("labels" not in needs or None not in entry.labels)
