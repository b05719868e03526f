"""Reports of finished results. Knows nothing of torch; only ``progress`` writes through pytest's terminal."""
