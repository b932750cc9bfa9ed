"""Recorded readings: the CSV of vramwatch and of nvidia-smi as rows, moments, lives and readings."""
