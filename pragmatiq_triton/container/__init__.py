"""The image's entry point: settings from the environment, and ``tritonserver`` under a supervisor."""
