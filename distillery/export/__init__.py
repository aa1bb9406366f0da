"""The student in the formats in which it is shipped: one module per format, which writes it and runs it."""
