"""What all of the project's own tests need before anything imports torch."""

import os

pytest_plugins = ["pytester"]

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side; threads of one would starve the others
