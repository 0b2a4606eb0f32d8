"""One thread per test process: the suite runs in parallel, and small products gain nothing."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
