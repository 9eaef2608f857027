"""Measurements that comparisons are made of: pairs of rows, changed columns and inputs, and causes.

The comparisons themselves, of two revisions or of two models, are in `promotion.comparison`, which
may load models and knows the paired bootstrap.
"""
