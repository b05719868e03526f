"""The suite as pytest sees it: options, plan, items, workers, outputs."""
