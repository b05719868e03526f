import torch

torch.set_num_threads(1)  # tests share their machine; and the sums are the same wherever they run
