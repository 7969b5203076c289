"""Checking a host before the night."""
