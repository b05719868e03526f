"""The command line of a measurement."""

from __future__ import annotations

import argparse


def command_line(doc: str | None) -> argparse.ArgumentParser:
    """A parser whose ``--help`` is what the module says of itself, line by line."""
    return argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
