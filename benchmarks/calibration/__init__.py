"""How presets, baselines and levels were measured."""
