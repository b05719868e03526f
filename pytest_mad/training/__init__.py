"""Training of trials and sweeps. Import the submodules: only some of them need torch."""
