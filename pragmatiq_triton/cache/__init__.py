"""What is kept between requests: tokens of events, event vectors, and both on disk."""
