"""What a loaded model does for a user: encode, detect, embed; never imports training."""
