"""What the process that workers are forked from imports, once.

That makes a million objects, which all stay. Looking through them for garbage again and again took
a third of the imports' time, and in each worker copied the memory that forking shares; so they are
set apart (https://docs.python.org/3/library/gc.html#gc.freeze).
"""

from __future__ import annotations

import gc
from importlib import import_module

IMPORTED_ONCE = (
    "batchinf_assets.orchestration.component",
    "mlflow.store.tracking.sqlalchemy_store",  # MLflow imports these when it is first asked
    "mlflow.store.model_registry.sqlalchemy_store",
)

gc.disable()
for name in IMPORTED_ONCE:
    import_module(name)
gc.freeze()
gc.enable()
