"""Comparisons of two revisions of a window, or of two models over windows: what compares is here.

Nothing here promotes. The package lies in this layer because it asks for what `evaluation` may not
import: registered models to score with, and the paired bootstrap of the promotion gate. What one
pair of rows, columns or manifests says is measured in `evaluation.comparison`.
"""
