"""``pragmatiq image``: docker/Dockerfile through a Docker engine's own API, with the result of ``make image``."""
