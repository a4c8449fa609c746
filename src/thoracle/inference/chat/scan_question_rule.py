"""Decide whether a question needs a scan: without one, such a question is declined before any model is asked.

Punctuation and capitals say nothing here. A question that points at one scan or one person needs the scan; one that has the words of a
general question does not; of the rest those need it that name what a scan shows, or ask for it.
"""

from __future__ import annotations

import re
from typing import Final

from thoracle.types import ABNORMALITIES

REFUSAL: Final = "No scan is given, so nothing can be said about one. Give a scan, or ask a general question."

_STUDY: Final = (
    r"(?:scans?|cts?|study|studies|images?|slices?|volumes?|series|examinations?|exams?|patients?|case|reports?|pictures?|person)"
)
_POLITENESS: Final = re.compile(
    r"^(?:(?:please|so|and|well|hi|hello|ok|okay|now|then|also|(?:can|could|would|will) you|i (?:want|would like|d like|need) to know"
    r"|tell me|let me know|give me|do you know|i wonder|kindly|briefly) )+(?=\w)"
)
_POINTS_AT_ONE: Final = (
    r"\b(?:this|these|that|those|my|his|her|their|our|the|prior|previous|last|earlier|first|second|two|both|follow up)"
    rf"\s+(?:\w+\s+)?{_STUDY}\b",
    r"\b(?:this|my|his|her|our|these)\b(?!\s+(?:kind|type|pattern|term|word|disease)s?\b)",
    r"\b(?:he|she|they|i|we)\s+(?:\w+\s+)?(?:has|have|had|is|am|suffers?|needs?|looks?)\b",
    r"\b(?:does|do|did|has|is|am)\s+(?:he|she|i|we)\b",
    r"\b(?:you|i|we|one)\s+(?:\w+\s+)?(?:see|observe|find|detect|notice|call|think|recognize|say)\b",
    r"\b(?:to you|here)\b",
    r"\b(?:what|anything|something|everything)(?:'s| is| was)? (?:\w+ )?(?:wrong|abnormal|suspicious|seen|visible|there|present|new)\b",
    r"\b(?:visible|seen|shown|present|identified|noted|counted)$",
    r"^how (?:is|are|does|do) the (?:heart|lungs?|pleura|aorta|mediastinum|airways?)(?: look)?$",
)
_GENERAL: Final = (
    # how a general question begins
    r"^(?:define|explain|why|who|whose|teach)\b",
    r"^(?:(?:something |more )?about|(?:the )?difference)\b",
    r"^what (?:is|are) (?:an? |(?!(?:the|it|in|inside|wrong|abnormal|seen|visible|there|present|your|new|his|her|shown)\b))",
    r"^what (?:does|do|did) .*\b(?:mean|stand for|look like|cause|feel like|do|show in)$",
    r"^what (?:causes?|symptoms|kinds?|types?|happens)\b",
    r"^what (?:is|are) the (?:\w+ )?(?:role|function|purpose|aim|mortality|best|worst|medical|latin|name for|mechanism|sensitivity"
    r"|specificity|accuracy|advantages?|disadvantages?|limits?|limitations?|stages?|grades?|types?|origin|anatomy|physiology|causes?"
    r"|differences?|evidence for|risks?|chances?|odds|lifetime|complications|word|plural|opposite|indications?)\b",
    r"^when (?:should|is|are|do|does|must|can|was)\b",
    r"^how (?:is|are|do|does|can|should|common|often|much|long|fast|dangerous|old)\b",
    r"^how \w+ (?:should|can|must|may|do|does|might)\b",
    r"^how many (?:\w+ )+(?:does|do) (?:the |a |an )?(?:\w+ )+have$",
    r"^how many \w+ are there in (?:the|a|an) (?:human|normal)\b",
    r"^can .* without\b",
    r"^(?:which|what) (?:\w+ )?(?:diseases?|conditions?|vaccines?|drugs?|guidelines?|symptoms?|tests?|organs?|bacteria|virus\w*|people"
    r"|windows?|words?|methods?|modality|modalities|techniques?|scores?|medicines?)\b(?! does the patient)",
    r"^(?:give )?an? (?:overview|definition|example|introduction)\b",
    r"^where (?:is|are|does|do) (?:the |an? )?(?:\w+ )+(?:located|lie|come from|situated|occur)$",
    r"^is it (?:possible|safe|normal|dangerous|true|common) (?:to|for|that)\b",
    r"^how (?:accurate|sensitive|specific|reliable|useful|good)\b",
    r"^does (?!the|it|this|that)\w+ (?:run|get|grow|need|require|feel|hurt)\b",
    r"^what (?:do|does) (?:the )?(?:\w+ )+(?:supply|drain|contain|produce)$",
    # words that speak of many
    r"\bon (?:an? )?(?:radiographs?|x ?rays?|mri|ultrasound|pet)\b",
    r"\b(?:in general|generally|usually|typical(?:ly)?|normally|always|often|in theory|on average)\b",
    r"\b(?:differences? between|distinguish|differentiate|compared? to|better than|versus)\b",
    r"\bcauses? (?:of|for)\b",
    r"\b(?:can|could|does|do|may|might|will) (?:\w+ ){1,4}(?:cause|occur|lead|become|turn into|go away|disappear|kill|spread|heal|come back"
    r"|hurt|affect)\b",
    r"\b(?:everyone|anyone|someone|somebody|anybody|everybody) (?:with|who)\b",
    r"\b(?:children|people|adults|women|men|smokers|infants|patients with|radiologists|doctors|physicians|in humans|pregnan\w+)\b",
    # what is asked about a disease and not of a scan
    r"\b(?:treatments?|treated|treat|cured?|curable|therapy|prevents?|prevention|prognosis|survival|contagious|infectious|hereditary"
    r"|reversible|dangerous|common|rare|frequent|fatal|painful|symptoms?|risk factors?|guidelines?|recommended|recommendations?|fleischner"
    r"|followed up|incidence|prevalence|epidemiology|pathophysiology|definition|meaning|abbreviation|acronym|stands? for|used for"
    r"|history of|classification|criteria|radiation|dose|needed to|necessary|receptors|needed for)\b",
    # what is normal
    r"\b(?:a|an|of|the) normal \w+\b",
    r"\bnormal (?:\w+ )?(?:size|diameter|width|values?|range|lymph nodes?|lungs?|hearts?|aorta|thickness|appearance) (?:of|in|on|is|are)\b",
)
_ON_A_SCAN: Final = (
    r"\b(?:findings?|impression|report|describe|summari[sz]e|summary|interpret|compare|count|measure|check|rule out|diagnos\w+|normal"
    r"|abnormal\w*|affected|enlarged|bigger?|larger?|grown|resolved|suspicious|malignant|benign|contrast|lesions?|tumou?rs?|mass(?:es)?"
    r"|cancer|metasta\w+|pneumonia|tuberculosis|covid\w*|fibrosis|o?edema|infiltrat\w+|fractures?|pneumothorax|embolism|pacemaker|stent"
    r"|tube|catheter|is there|are there|any|where|which side|which lobe|how big|how large|how many|left or right|anything|everything|ok"
    r"|okay|healthy|biopsy)\b",
    r"\b(?:lungs?|lobes?|heart|cardiac|aorta|aortic|coronar\w+|pleura\w*|pericardi\w+|mediastin\w+|hil(?:ar|um|a)|bronch\w+|trachea\w*"
    r"|diaphragm|liver|spine|ribs?|chest|thora\w+|segments?|lingula|opacit\w+|nodul\w+|effusions?|nodes?|hernias?|cysts?|cavit\w+)\b",
    *(rf"\b{word}" for name in ABNORMALITIES for word in re.findall(r"[a-z]{6,}", name.lower())),
)
_ONE, _MANY, _SHOWN = (re.compile("|".join(phrases)) for phrases in (_POINTS_AT_ONE, _GENERAL, _ON_A_SCAN))


def requires_scan(question: str, *, task: str) -> bool:
    """Tell whether only a scan can answer a question. A report is always of a scan."""
    if task == "report_generation":
        return True
    words = " ".join(re.findall(r"[^\W_]+", question.lower().replace("’", "'").replace("'s", " is")))
    words = _POLITENESS.sub("", words)
    return _ONE.search(words) is not None or (_MANY.search(words) is None and _SHOWN.search(words) is not None)
