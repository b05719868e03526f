"""Reports of finished results. Knows nothing of torch, and imports no pytest: ``progress`` is handed its terminal."""
