"""Rewrites of data movement in ONNX graphs."""
