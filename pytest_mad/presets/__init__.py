"""Settings and recipes, and the TOML files that hold them."""
