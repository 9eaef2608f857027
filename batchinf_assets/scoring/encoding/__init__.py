"""Encoding: a scikit-learn pipeline's preprocessing as plain data, applied to Arrow columns."""
