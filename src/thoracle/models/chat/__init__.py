"""Assemble a chat model: projector, language model, prompt."""
