"""Durable jobs: submitted once, tracked to an end state, never lost."""
