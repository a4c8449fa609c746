"""Train report classifiers."""
