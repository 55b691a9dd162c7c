"""Workflows as data: manifest, graph, binding. Pure: no network, no clock, no jobs."""
