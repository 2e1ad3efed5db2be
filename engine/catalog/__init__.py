"""The targets that are known without being declared: prices, names, windows, abilities."""

from .catalogue import PricedCatalog, language_schema
from .prices import origin
from .table import AS_OF, KINDS, PROVIDERS

__all__ = ["AS_OF", "KINDS", "PROVIDERS", "PricedCatalog", "language_schema", "origin"]
