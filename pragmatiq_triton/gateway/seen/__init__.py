"""What is told of calls once they have ended: metrics, the access log, traces. Nothing of customers is told."""
