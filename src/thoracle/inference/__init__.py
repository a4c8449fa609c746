"""Run loaded models: encode, detect, embed, label, chat; never import training."""
