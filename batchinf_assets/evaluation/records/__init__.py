"""Figures as rows of tables."""
