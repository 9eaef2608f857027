"""The names under which a run says in Dagster's event log what became of a window.

Runs write them, and whoever looks for what is left to do reads them, long after the run has ended:
a name that changes is no longer found.
"""

REFUSED = "batchinf/refused"
"""Why the window was refused, in one sentence."""

NEXT_STEP = "batchinf/next_step"
"""What to do about it."""

PREEMPTED = "batchinf/preempted"
"""The process was asked to leave; the run goes on where it was tried again."""

SECONDS = "batchinf/seconds"
"""How long the step worked on the window."""
