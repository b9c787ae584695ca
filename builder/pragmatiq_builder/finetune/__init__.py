"""Fitting task heads: labels, splits, inputs, classifiers, calibration, LoRA."""
