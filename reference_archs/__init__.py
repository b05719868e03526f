"""Architectures to copy and to compare with: ``make_model`` has width 64, ``make_paper_model`` MAD's 128."""
