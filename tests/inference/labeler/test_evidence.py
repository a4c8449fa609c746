from __future__ import annotations

from dataclasses import asdict

from thoracle.inference.labeler.evidence import LabelEvidence, Labels


def test_labels_as_json_hold_value_evidence_and_score() -> None:
    mention = LabelEvidence(sentence="Catheter.", start=0, end=8, rule="material", assertion="affirmed", cue="", counts=True)
    values = (1, *(0,) * 17)
    entry = Labels(values=values, evidence=((mention,), *((),) * 17), scores=(0.1234567,) * 18).as_dict()["labels"]["Medical material"]
    assert entry == {"value": 1, "evidence": [asdict(mention)], "score": 0.123457}
    unknown = Labels.none("no English")
    assert set(unknown.values) == {None}
    assert unknown.as_dict()["unknown"] == "no English"
    assert "score" not in unknown.as_dict()["labels"]["Emphysema"]


def test_a_state_is_what_the_mentions_that_decide_say() -> None:
    def mention(assertion: str, *, counts: bool) -> LabelEvidence:
        return LabelEvidence(sentence="s", start=0, end=1, rule="r", assertion=assertion, cue="", counts=counts)

    evidence = (
        (mention("negated", counts=False), mention("affirmed", counts=True)),
        (mention("uncertain", counts=True), mention("affirmed", counts=True)),
        (mention("uncertain", counts=True), mention("negated", counts=False)),
        (mention("historical", counts=False), mention("negated", counts=False)),
        (mention("hypothetical", counts=False),),
        (),
    )
    labels = Labels(values=(1, 1, 1, 0, 0, 0), evidence=evidence, abnormalities=tuple("abcdef"))
    assert labels.states == ("stated", "stated", "uncertain", "denied", "not mentioned", "not mentioned")
    assert Labels.none("no text", abnormalities=("a",)).states == (None,)
