"""Make a model: labelled features of past windows, the pipeline's own `train`, the registry."""
