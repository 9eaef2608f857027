"""Comparisons with printed figures; nothing here is a test."""
