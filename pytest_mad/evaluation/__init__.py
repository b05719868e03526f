"""One setting or one contract, from the question to the answer."""
