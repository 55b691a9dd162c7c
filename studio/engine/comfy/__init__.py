"""Talking to ComfyUI servers: events, wire, client, fleet.

Knows no job, person or database.
"""
