"""What was computed before: trials, contracts and checkpoints, found again by content."""
