"""Admission: what stands between a ready step and a tool, one guard a file, in the order the pipeline gives."""
