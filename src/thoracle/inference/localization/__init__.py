"""Tell where maps are strongest, and how far they were found to be better than where findings usually lie."""
