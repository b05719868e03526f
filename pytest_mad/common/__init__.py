"""What every room uses: errors, files, text, packages, seeds, determinism, devices, the registry."""
