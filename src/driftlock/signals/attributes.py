"""Attributes of the OpenTelemetry conventions that mean something to Driftlock, by name.

Owns names only, so that settings and help can tell them without loading what reads telemetry.
"""

from __future__ import annotations

CONVERSATION = "gen_ai.conversation.id"
