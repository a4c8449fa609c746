from __future__ import annotations

from pathlib import Path

import pytest
import torch

from thoracle.errors import InputError
from thoracle.inference.chat.conversation import Conversation, Turn, read_turns
from thoracle.models.chat.prompt import IMAGE

TURN = Turn(question="Is there an effusion?", task="short_answer", answer="Yes.")


def test_scans_stand_in_the_first_turn_alone() -> None:
    conversation = Conversation(scans=(torch.zeros(1), torch.zeros(1)), turns=[TURN])
    messages = conversation.messages("Which side?", "long_answer")
    assert [message.role for message in messages] == ["system", "user", "assistant", "user"]
    assert [message.content.count(IMAGE) for message in messages] == [0, 2, 0, 0]
    assert messages[2].content == "Yes."


def test_turns_are_read_back_and_nothing_names_a_scan(tmp_path: Path) -> None:
    Conversation(scans=(torch.zeros(1),), turns=[TURN]).save(tmp_path / "talk.json")
    assert read_turns(tmp_path / "talk.json") == [TURN]
    assert "scan" not in (tmp_path / "talk.json").read_text()


@pytest.mark.parametrize(
    "content", ["", "{}", '{"format": "thoracle.conversation/1", "turns": [{"question": 1, "task": "x", "answer": ""}]}']
)
def test_another_file_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "talk.json").write_text(content)
    with pytest.raises(InputError, match="holds no conversation"):
        read_turns(tmp_path / "talk.json")
