"""The records of a run: their file, merging and comparing them, what verdicts mean."""
