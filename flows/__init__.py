"""Prefect, and nothing else: thin tasks over the stages, and the flows of them.

Importing this package decides what Prefect and JAX read when they are imported: neither
Prefect's client nor a temporary server it starts reports to anyone, and what JAX
compiles is kept for the next run. What is set in the environment wins.
"""

import os

from tl_pipeline.allocation import keep_freed_memory
from tl_pipeline.compilation import keep_compiled_programs

keep_freed_memory()
keep_compiled_programs()
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
# Its temporary server has 20 s to start by default, which a busy machine exceeds.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")
