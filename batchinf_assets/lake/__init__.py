"""Where data lives: Delta tables read and committed by window, Parquet files, digests, queries."""
