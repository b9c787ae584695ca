"""Strings that an encoder meets: empty, repeated, long, not ASCII, and with NULs inside and at the end."""

TEXTS = [
    "",
    "a",
    "TESCO STORES 3291",
    "Salary",
    "Überweisung Miete März",
    "家賃 10月",
    "x" * 300,
    "nul\x00inside\x00",
    "a",
]
