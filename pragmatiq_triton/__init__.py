import os

# ONNX Runtime 1.32 keeps an id of the machine and reports to Microsoft unless it finds this when it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
