"""List the kinds of model: one line a family."""

from __future__ import annotations

from typing import Any, Final

from thoracle.errors import CapabilityMissing
from thoracle.models.colipri.spec import COLIPRI
from thoracle.models.ctchat.spec import PROJECTOR
from thoracle.models.ctclip.spec import CLASSIFIER, CT_CLIP, CTVIT
from thoracle.models.encoder import Capability
from thoracle.models.imagetext.spec import image_text_spec
from thoracle.models.medfinder.spec import MEDFINDER
from thoracle.models.merlin.spec import MERLIN
from thoracle.models.model_spec import ModelSpec
from thoracle.models.regions.spec import regions_spec
from thoracle.models.spectre.spec import SPECTRE
from thoracle.models.text.spec import TEXT_CLASSIFIER
from thoracle.models.tokenclassifier.spec import token_classifier_spec

_ENCODERS: Final = (CT_CLIP, COLIPRI, MERLIN, SPECTRE, MEDFINDER, CLASSIFIER, CTVIT)
#: By kind. Order is that of hints.
REGISTRY: Final[dict[str, ModelSpec]] = {
    spec.kind: spec
    for spec in (
        *_ENCODERS,
        image_text_spec({spec.kind: spec for spec in _ENCODERS if Capability.LATENTS in spec.capabilities(None)}),
        token_classifier_spec({spec.kind: spec for spec in _ENCODERS}),
        regions_spec({spec.kind: spec for spec in _ENCODERS}),
        TEXT_CLASSIFIER,
        PROJECTOR,
    )
}


def spec_of(module: object) -> ModelSpec:
    """Return the spec of a module by its exact class.

    Raises:
        CapabilityMissing: no spec builds it, so that it has no kind to be saved under.
    """
    spec = next((spec for spec in REGISTRY.values() if type(module) in spec.modules), None)
    if spec is None:
        raise CapabilityMissing(f"{type(module).__name__} is of no registered kind", hint="Add its spec to thoracle.models.registry.")
    return spec


def models_with(*capabilities: Capability) -> str:
    """List the short names of kinds that can have one of these capabilities: "CT-CLIP, MedFinder or LiPro"."""
    return listed_or([spec.name for spec in REGISTRY.values() if spec.capabilities(None) & {*capabilities}])


def capability_hint(spec: ModelSpec, config: Any, *capabilities: Capability) -> str:
    """Say how to get a model that has one of these capabilities, which one of this kind and configuration lacks."""
    again = ""
    if spec.text_rules is not None and Capability.TEXT in capabilities and spec.is_without_text(config):
        again = f", or import this one's file again with --tokenizer ({spec.text_rules.tokenizer_files})"
    return f"Give a {models_with(*capabilities)} model{again}."


def listed_or(names: list[str]) -> str:
    """Join names by commas and a last "or"."""
    return " or ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
