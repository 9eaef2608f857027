"""The sides of `benchmarks.batch_scoring`: each is a module that runs as a process of its own."""
