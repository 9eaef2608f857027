"""`python -m batchinf_assets.cli`, where the command is not on the path."""

from batchinf_assets.cli.process import main

if __name__ == "__main__":
    main()
