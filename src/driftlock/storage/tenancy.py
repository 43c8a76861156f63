"""The tenant that everything belongs to until an installation names others."""

from __future__ import annotations

TENANT_DEFAULT = "default"
