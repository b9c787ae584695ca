"""From a network to the ONNX graphs that the scorer runs, in fp32 and int8."""
