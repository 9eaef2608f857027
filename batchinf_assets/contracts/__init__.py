"""What data must look like: the declared columns as a pandera schema, and the checks of a window.

A broken rule comes back as a value (`batchinf_assets.checks`); who calls decides what to refuse.
Statistical judgements (drift, metrics) live in `evaluation`.
"""
