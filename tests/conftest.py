"""What every test may rely on: no network, no progress bars, no deadline on a busy machine."""

from __future__ import annotations

import os

# Before any test module imports the libraries that read them.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TQDM_DISABLE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import logging

import hypothesis
from saying import say

__all__ = ["say"]

hypothesis.settings.register_profile("idembench", deadline=None, max_examples=50)
hypothesis.settings.load_profile("idembench")
for name in ("lm_eval", "lm-eval", "trl", "peft", "datasets", "accelerate"):
    logging.getLogger(name).setLevel(logging.ERROR)
