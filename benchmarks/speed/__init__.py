"""Where the time goes: steps, sweeps, runs, the plugin itself."""
