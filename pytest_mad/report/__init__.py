"""Reports of finished results. Knows nothing of torch, and of pytest only where that is what a module is for:
``progress`` writes through its terminal, ``pytest_html`` has hooks of that plugin.
"""
