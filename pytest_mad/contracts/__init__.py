"""Properties of a model that are checked apart from any score."""
