"""What data must look like: the declared columns as a pandera schema, and the checks of a window.

A broken rule comes back as a value (`batchinf_assets.checks`); who calls decides what to refuse.
Statistical judgements (drift, metrics) live in `evaluation`.
"""

import os

# Unless it is set, pandera sets it when it is imported, for Spark's sake; Arrow then takes every
# zone for UTC when it converts Python times, in our code and in a pipeline's own. Empty means no.
os.environ.setdefault("PYARROW_IGNORE_TIMEZONE", "")
