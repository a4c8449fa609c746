"""Layouts of a conversation: system and data stand where a layout says, once, in order, and neighbours of one role are one turn."""

from __future__ import annotations

import pytest

from thoracle.models.chat.layout import BEGIN_DATA, END_DATA, SERVER_LAYOUTS, TEMPLATE_LAYOUTS, Layout, to_turns
from thoracle.models.chat.prompt import Message

TALK = [
    Message(role="system", content="Be brief."),
    Message(role="user", content="Is it there?"),
    Message(role="tool", content="F1: effusion 0.9"),
    Message(role="assistant", content="Yes [F1]."),
    Message(role="user", content="Where?"),
]
BLOCK = f"{BEGIN_DATA}\nF1: effusion 0.9\n{END_DATA}"


def test_data_stand_in_the_users_turn_before_its_question() -> None:
    assert to_turns(TALK, Layout()) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": f"{BLOCK}\n\nIs it there?"},
        {"role": "assistant", "content": "Yes [F1]."},
        {"role": "user", "content": "Where?"},
    ]


def test_a_server_gets_user_and_assistant_in_turn_and_the_systems_words_first() -> None:
    turns = to_turns(TALK, SERVER_LAYOUTS["user"])
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    assert turns[0]["content"] == f"Be brief.\n\n{BLOCK}\n\nIs it there?"


def test_a_tools_turn_stands_behind_the_assistants_call_of_it() -> None:
    turns = to_turns(TALK, SERVER_LAYOUTS["tool"])
    assert [turn["role"] for turn in turns] == ["system", "user", "assistant", "tool", "assistant", "user"]
    call = turns[2]["tool_calls"][0]
    assert call == {"id": turns[3]["tool_call_id"], "type": "function", "function": {"name": "evidence", "arguments": "{}"}}
    assert turns[3]["content"] == "F1: effusion 0.9"
    assert to_turns(TALK, SERVER_LAYOUTS["tool"], call_arguments={})[2]["tool_calls"][0]["function"]["arguments"] == {}


def test_a_layout_without_a_system_drops_its_words_alone() -> None:
    assert to_turns(TALK, Layout(system="absent")) == to_turns(TALK, Layout())[1:]


@pytest.mark.parametrize("layout", [*TEMPLATE_LAYOUTS["user"], *TEMPLATE_LAYOUTS["tool"], *SERVER_LAYOUTS.values()])
def test_every_word_stands_once_in_any_layout(layout: Layout) -> None:
    told = "\n".join(turn["content"] for turn in to_turns(TALK, layout))
    for message in TALK:
        assert told.count(message.content) == 1
    assert told.index("Be brief.") < told.index("Is it there?") < told.index("Yes [F1].") < told.index("Where?")


def test_users_turns_that_are_neighbours_become_one() -> None:
    turns = to_turns([*TALK[:3], Message(role="user", content="Where?")], Layout())
    assert turns[1:] == [{"role": "user", "content": f"{BLOCK}\n\nIs it there?\n\nWhere?"}]


def test_data_that_follow_no_user_are_a_users_turn_and_not_lost() -> None:
    turns = to_turns([TALK[1], TALK[3], TALK[2]], Layout())
    assert turns[2] == {"role": "user", "content": BLOCK}


def test_pictures_stand_before_the_words_of_their_turn() -> None:
    question = Message(role="user", content="Is it there?", pictures=(b"one", b"two"))
    turns = to_turns([TALK[0], question, *TALK[3:]], SERVER_LAYOUTS["user"])
    assert turns[0] == {
        "role": "user",
        "content": [
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,b25l"}},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,dHdv"}},
            {"type": "text", "text": "Be brief.\n\nIs it there?"},
        ],
    }
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
