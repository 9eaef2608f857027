"""Model-ready rows: point-in-time views, the feature SQL over them, and its column lineage."""
