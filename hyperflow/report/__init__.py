"""What people look at: pages of each step and of a whole run, and the run's summary."""

from hyperflow.report.pages import about, answers, lead, page, plan, summary, training, trials, verdict, write

__all__ = ["about", "answers", "lead", "page", "plan", "summary", "training", "trials", "verdict", "write"]
