"""Talk to language models: decoding, JSON answers, OpenAI-compatible servers."""
