"""Deterministic simulation of the core: seeded schedules, virtual time, faults and crashes."""
