"""Electrochemistry on potentiostats: CV, EIS and the other modes, run on slots in parallel."""
