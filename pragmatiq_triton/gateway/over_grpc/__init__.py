"""gRPC: the KServe protocol's methods, read and written as bytes here."""
