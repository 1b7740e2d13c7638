"""Our own search: Optuna in Katib's place, whatever runs the trials.

Search ─ asks ─> queues, samplers, pruning ─ draw from and write to ─> study, a file on the volume
   └── has a Runner run each trial; what it prints comes back line by line
"""

from hyperflow.engines.search.checkpoints import Checkpoints
from hyperflow.engines.search.search import Search, check
from hyperflow.engines.search.study import cut_off, so_far
from hyperflow.engines.search.trials import Reader, Runner, log_of

__all__ = ["Checkpoints", "Reader", "Runner", "Search", "check", "cut_off", "log_of", "so_far"]
