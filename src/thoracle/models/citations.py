"""Say which paper a model, and what is made of it, must cite; CITATION.cff has the same."""

from __future__ import annotations

from typing import Final

#: CT-CLIP, CT-CHAT and the data set CT-RATE. The first version of the preprint had another title.
CT_CLIP: Final = (
    "Hamamci et al., Developing Generalist Foundation Models from a Multimodal Dataset for 3D Computed Tomography, arXiv:2403.17834v2, 2024"
)
#: MedFinder and the data set BIMCV-R.
MEDFINDER: Final = "Chen et al., BIMCV-R: A Landmark Dataset for 3D CT Text-Image Retrieval, MICCAI 2024, pages 124-134, arXiv:2403.15992"
COLIPRI: Final = "Wald et al., Comprehensive Language-Image Pre-training for 3D Medical Image Understanding, arXiv:2510.15042, 2025"
MERLIN: Final = "Blankemeier et al., Merlin: A Vision Language Foundation Model for 3D Computed Tomography, arXiv:2406.06512, 2024"
SPECTRE: Final = (
    "Claessens et al., Scaling Self-Supervised and Cross-Modal Pretraining for Volumetric CT Transformers, CVPR 2026, arXiv:2511.17209"
)


_AND: Final = "; and "


def derived_licence(*licences: str, data: str) -> str:
    """Name the licence of a model that was made from others' weights; most share under the same terms alone.

    Args:
        licences: of the others' weights, in words; none where all began at random.
        data: what else it was made from, such as "the data it was trained on".
    """
    ending = f"that of {data}"
    parts = dict.fromkeys(part for licence in licences for part in licence.split(_AND) if part not in ("", ending))
    return _AND.join([*parts, ending])
