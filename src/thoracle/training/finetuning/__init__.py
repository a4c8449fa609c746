"""Fine-tune CT-CLIP: VocabFine, classifiers, LoRA."""
