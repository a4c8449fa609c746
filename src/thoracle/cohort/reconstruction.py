"""Select which reconstruction of a scan is used: a stated setting, kept with the cohort."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from thoracle.cohort.sources import VolumeSource
from thoracle.errors import InputError


@dataclass(frozen=True, kw_only=True)
class ReconstructionFilter:
    """Select all volumes of a scan, or one: the first of its `kernels`, or the one with slices nearest to `thickness_mm` apart.

    Kernels are patterns, in order of preference ("B*"). Among equals the thinner, then the first by name, is taken. A scan without any of
    the kernels, or whose thickness nobody tells, has none.
    """

    by: Literal["all", "kernel", "thickness"] = "all"
    kernels: tuple[str, ...] = ()
    thickness_mm: float = 0.0

    @classmethod
    def parse(cls, text: str) -> ReconstructionFilter:
        """Parse "all", "kernel=Br4*,B" or "thickness=1.5".

        Raises:
            InputError: none of these.
        """
        if text == "all":
            return cls()
        if text.startswith("kernel=") and (kernels := tuple(filter(None, (k.strip() for k in text[7:].split(","))))):
            return cls(by="kernel", kernels=kernels)
        if re.fullmatch(r"thickness=\d{1,3}(\.\d{1,4})?", text):
            return cls(by="thickness", thickness_mm=float(text[10:]))
        raise InputError(
            f"--reconstruction expects all, kernel=NAME,… or thickness=MM, got {text!r:.60}", hint="Write for example kernel=Br4*,B."
        )

    def __str__(self) -> str:
        return {"all": "all", "kernel": f"kernel={','.join(self.kernels)}", "thickness": f"thickness={self.thickness_mm:g}"}[self.by]

    def choose(self, sources: Iterable[VolumeSource]) -> tuple[list[VolumeSource], list[str]]:
        """Select the volumes to use, in order; return them and the scans that have none."""
        scans: dict[str, list[VolumeSource]] = defaultdict(list)
        for source in sources:
            scans[source.scan].append(source)
        chosen = {scan: self._of(volumes) for scan, volumes in scans.items()}
        remaining = sorted((source for volumes in chosen.values() for source in volumes), key=lambda source: source.volume)
        return remaining, sorted(scan for scan, volumes in chosen.items() if not volumes)

    def _of(self, volumes: Sequence[VolumeSource]) -> list[VolumeSource]:
        if self.by == "all" or all(source.error for source in volumes):  # what is refused anyway is refused by its own reason
            return list(volumes)
        ranked = [
            (rank, source.slice_spacing_mm or float("inf"), source.volume, source)
            for source in volumes
            if (rank := self._rank(source)) is not None
        ]
        return [min(ranked)[-1]] if ranked else []

    def _rank(self, source: VolumeSource) -> float | None:
        if self.by == "thickness":
            return None if source.slice_spacing_mm is None else round(abs(source.slice_spacing_mm - self.thickness_mm), 3)
        kernel = source.kernel.upper()
        return next((float(rank) for rank, pattern in enumerate(self.kernels) if fnmatchcase(kernel, pattern.upper())), None)
