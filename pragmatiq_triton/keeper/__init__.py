"""What stands behind every ``tritonserver`` of ours: its log within bounds, and nothing left of it when its owner ends.

Imports the standard library alone: the keeper is a small process that has to be up before the server is.
"""
