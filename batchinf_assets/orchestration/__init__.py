"""The only room that knows Dagster: it declares assets, checks, jobs and sensors over the rest."""
