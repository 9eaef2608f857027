"""The first declaration of a pipeline, drafted from what landed: a beginning that runs."""
