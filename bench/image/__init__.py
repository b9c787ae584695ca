"""The image, run and measured: size, time to ready, idle memory."""
