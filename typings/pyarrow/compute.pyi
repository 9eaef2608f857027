# pyarrow ships no types and makes most of its functions at import; all of it is Any to the checker.
from typing import Any

def __getattr__(name: str) -> Any: ...
