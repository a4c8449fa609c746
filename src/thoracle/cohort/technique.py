"""Read from a report's technique whether contrast agent was given into a vessel."""

from __future__ import annotations

import re
from typing import Final, Literal

#: "both" where one examination has images with agent and images without: the report does not say which a volume is.
StatedContrast = Literal["with", "without", "both"]

_HEADING: Final = re.compile(r"(?:^|(?<=[\n.;\]]))\s*(?:[\w ]{0,20}\s)?(?:technique|technical\s+details)\s*[:\n]", re.IGNORECASE)
#: Sections that stand behind a technique.
_NEXT: Final = re.compile(
    r"(?:^|(?<=[\n.;\]\s]))(?:findings?|impressions?|conclusions?|comparisons?|indications?|(?:clinical\s+)?(?:history|information)|results?"
    r"|opinion|discussion|recommendations?|comments?|observations?|interpretation|summary|reason|description|report)\s*(?::|\n)",
    re.IGNORECASE,
)

_ANY_AGENT: Final = (
    r"(?:contrast(?!\s+(?:resolution|window|ratio|nephr|allerg|reaction|to\b))|ivcm|ivkm|radiopa\w+|opaque\s+(?:agent|substance|material|medium)"
    r"|dye|iohexol|iopromide|iomeprol|iopamidol|ioversol|iodixanol|iobitridol|omnipaque|ultravist|iomer\w+|isovue|optiray|visipaque|xenetix)"
    r"(?:[\s-]+(?:agent|medium|media|materials?|matter|substance|dye|bolus|injection|administration|enhance\w*))*"
)
_AGENT: Final = rf"(?:(?:(?:iv|intra\w+|iodi\w+|non-?ionic|ionic|ml|cc)[\s-]+)*{_ANY_AGENT})"
#: Words between a cue and the agent that belong to both; another cue begins a statement of its own.
_GAP: Final = r"(?:(?!(?:with|without|after|following|post|before|but|however|then|not|no|and then)\b)[\w./%()-]+[\s]+){0,8}?"
_NOT_GIVEN: Final = (
    r"(?:(?:was|were|is|are|has|have|had|could|can|did|been)\s+)*(?:n[o']t|never|neither)\s+(?:be\s+|been\s+|deemed\s+)?"
    r"(?:\w+ly\s+)?(?:given|administ\w+|inject\w+|used|appl\w+|utili[sz]ed|receive\w*|necessary|possible|perform\w+|obtain\w+|available)"
    r"|(?:was|were|is)\s+(?:withheld|omitted|avoided|contraindicated|refused)"
)
#: Of "intravenous and oral contrast" the vessel counts.
_TWO_ROUTES: Final = re.compile(
    r"\b(iv|intravenous)\s*(?:and|or|nor|plus|&|/|,)+\s*(?:oral|rectal|enteric)\b|\b(?:oral|rectal|enteric)\s*(?:and|or|nor|plus|&|/|,)+\s*(iv|intravenous)\b"
)
#: Oral agent does not enhance blood; an allergy, a test of kidneys and what is compared are no technique.
_BESIDE: Final = re.compile(
    r"\bin\s+contrast\s+(?:to|with)\b|\b(?:soft[\s-]tissue|high|low|good|poor|image|lung|better)[\s-]contrast\b(?!\s+(?:agent|medium|material))"
    r"|\b(?:history\s+of\s+)?(?:allerg\w+|reactions?|hypersensitiv\w+)\s+(?:to|against)\s+(?:the\s+)?" + _AGENT +
    rf"|\b(?:(?:with|without|after|following|no)\s+)?(?:{_GAP})(?:oral|rectal|enteric|peroral)(?:ly)?"
    rf"(?:\s+(?:and|or)\s+(?:rectal|enteric))*\s+{_AGENT}"
    rf"(?:\s+(?:was|were)\s+(?:not\s+)?(?:given|administered))?"
    rf"|\b{_AGENT}\s+(?:(?:was|were)\s+)?(?:given\s+|administered\s+|taken\s+)?(?:orally|by\s+mouth|rectally|per\s+os|(?:through|via|by)\s+(?:the\s+)?(?:oral|rectal)\s+route)\b"
)  # fmt: skip
_BOTH: Final = re.compile(
    rf"\b(?:without\s+(?:and|or)\s+with|with\s+(?:and|or)\s+without|before\s+and\s+(?:after|following)"
    rf"|pre[\s-]*(?:and|/|&)\s*post)[\s-]+{_GAP}{_AGENT}|\bpre-?\s*and\s+post-?\s*contrast\b"
)
_WITHOUT: Final = re.compile(
    rf"\b(?:without|w/o|no|lacking|lack\s+of|absence\s+of|prior\s+to|before|precluded|free\s+of|instead\s+of)\s+{_GAP}{_AGENT}"
    rf"(?:\s+(?:was|were)\s+(?:given|administered|used|injected))?"
    rf"|\b(?:non|un|pre)[\s-]*(?:iv[\s-]+)?(?:{_ANY_AGENT}|(?:contrast[\s-]+)?enhanced)|\bcontrast-?(?:less|free)\b"
    rf"|\bnot\s+{_GAP}(?:{_AGENT}|enhanced)|\b{_AGENT}\s+(?:{_NOT_GIVEN})|\b{_AGENT}\s*[:=]\s*(?:none|no|nil|not?\b|0\b|without)\b[\w ]*"
    r"|\b(?:plain|native|nect|ncct)\b"
)
_WITH: Final = re.compile(
    rf"\b(?:with|after|following|post|during|by|using|via|plus|under)[\s-]+{_GAP}{_AGENT}|\bpost-?{_AGENT}|\b{_AGENT}[\s-]+enhanced\b"
    rf"|\b{_AGENT}\s+(?:(?:was|were|has\s+been|is)\s+)?{_GAP}(?:given|administered|injected|used|applied|infused)\b"
    rf"|\b{_AGENT}\s*[:=]\s*(?:yes\b|\d|\w)|\b\d+\s*(?:ml|cc|g)\s+(?:of\s+)?{_GAP}{_AGENT}|\b(?:iv|intravenous(?:ly)?|intra-?arterial)\s+{_AGENT}"
    r"|(?<!edge[\s-])\b(?:contrast[\s-]*)?enhanced\s+(?:\w+\s+){0,2}?(?:ct|computed|tomograph\w*|scans?|chest|thora\w*|images?|sections?"
    r"|exam\w*|study|series|phase)\b|\b(?:arterial|venous)\s+phase\b|\bangiogra\w+|\bcta\b|\bctpa\b|\bcect\b"
)


def stated_contrast(technique: str) -> StatedContrast | None:
    """Tell whether a technique says that contrast agent was given into a vessel; None where it says nothing of it."""
    text = re.sub(r"[\u2010-\u2015\u2212]", "-", technique.lower())
    text = re.sub(r"\s+", " ", re.sub(r"\bi\.\s?v\.?(?=\W|$)", "iv", text))
    text = _TWO_ROUTES.sub(lambda match: match[1] or match[2], text)
    says_with = says_without = False
    for sentence in re.split(r"(?<!\d)[.;]|[.;](?!\d)", text):
        remainder = _BESIDE.sub(" | ", sentence)
        if _BOTH.search(remainder):
            return "both"
        remainder, denied = _WITHOUT.subn(" | ", remainder)
        says_without |= denied > 0
        says_with |= _WITH.search(remainder) is not None
    if says_with and says_without:
        return "both"
    return "with" if says_with else "without" if says_without else None


def technique_section(report: str) -> str:
    """Cut the technique out of a report's text: from its heading to the next section's; "" where no heading names it."""
    heading = _HEADING.search(report)
    if heading is None:
        return ""
    following = _NEXT.search(report, heading.end())
    return report[heading.end() : following.start() if following else len(report)].strip()
