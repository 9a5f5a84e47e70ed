"""Crystallisation plates: where they are, what is in their wells, and what was seen there."""
