"""Our operators and layers against those of other packages: `make test-packages`, in an environment that has them.

Elsewhere nothing here is collected. TRITON_INTERPRET is what says so: it makes Triton kernels run on a CPU, so a run
that has to do with a GPU must not have it.
"""

import os

import torch

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
collect_ignore_glob = [] if INTERPRETED else ["test_*.py"]

if INTERPRETED:
    torch.set_num_threads(1)  # two processes share two cores; and the sums are the same wherever they run
