"""``--mad-html``: one self-contained page."""
