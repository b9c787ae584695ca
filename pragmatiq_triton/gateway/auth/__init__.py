"""Who may call: API keys, JSON web tokens, client certificates, each by a setting; without any everybody may."""

from pragmatiq_triton.gateway.auth.authentication import Authentication, make_authentication

__all__ = ["Authentication", "make_authentication"]
