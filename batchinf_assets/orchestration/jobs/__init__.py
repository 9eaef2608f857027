"""The jobs of a pipeline: over its assets, over the aliases of its model, over its lake."""
