"""`python -m tl_pipeline.cli` is `tl-pipeline`."""

from tl_pipeline.cli import main

main()
