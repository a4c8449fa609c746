"""Open a chat model: a folder of our training, a published adapter, or the one that `thoracle demo` trained on this machine."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from thoracle.errors import InputError
from thoracle.inference.chat.session import Chat, ChatComponents, load_chat
from thoracle.inference.demo.default_model import Notify
from thoracle.inference.demo.locations import demo_chat
from thoracle.models.chat.chat_folder import ABOUT
from thoracle.models.chat.language_model import Dtype
from thoracle.models.chat.layout import EvidencePlacement


def open_chat(
    model: Path | None,
    *,
    encoder: Path | None,
    base: Path | None,
    device: str,
    notify: Notify,
    evidence: EvidencePlacement = "user",
    dtype: Dtype = "auto",
) -> Chat:
    """Load a chat model with its encoder and its language model.

    Args:
        model: a chat folder, or a published adapter's; the demo's if none is named.
        encoder, base: folders of the two, in place of those that the chat folder names.
        device, evidence, dtype: as `load_chat`.
        notify: takes a sentence that says so where the demo's is used.

    Raises:
        InputError: none was named and the demo has not run here, or an adapter has no encoder or language model.
        ThoracleError: as `load_chat`.
    """
    load = partial(load_chat, device=device, evidence=evidence, dtype=dtype)
    if model is None:
        demo = demo_chat()
        if not (demo / "model" / ABOUT).is_file():
            hint = "Give --model DIR, as `thoracle train chat` makes it, --detector with --llm-url URL, or run `thoracle demo` once."
            raise InputError("no chat model was given, and the demo has not run on this machine", hint=hint)
        notify("No --model was given: this is the demo's, which knows only phantoms.")
        return load(demo / "model", encoder=encoder or demo / "encoder", base=base or demo / "base")
    if (model / ABOUT).is_file():
        return load(model, encoder=encoder, base=base)
    if encoder is None or base is None:
        hint = "Give a published adapter with --encoder DIR and --base DIR."
        raise InputError("is no chat folder of `thoracle train chat`", hint=hint, source=model)
    return load(ChatComponents.published(model, encoder=encoder, base=base))
