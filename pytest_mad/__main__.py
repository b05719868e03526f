"""``python -m pytest_mad`` is the command ``pytest-mad``."""

import sys

from .cli import main

sys.exit(main())
