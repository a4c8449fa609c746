"""The command `thoracle`: one file a verb; each parses, calls one library function and prints."""
