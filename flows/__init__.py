"""Prefect, and nothing else: thin tasks over the stages, and the flows of them.

Importing this package decides, before Prefect reads its settings, that neither its
client nor a temporary server it starts reports to anyone; what is set wins.
"""

import os

os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
# Its temporary server has 20 s to start by default, which a busy machine exceeds.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")
