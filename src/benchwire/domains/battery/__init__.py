"""Battery telemetry: recordings and live readings of storage systems, streamed and judged."""
