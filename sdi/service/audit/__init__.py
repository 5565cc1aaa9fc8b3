"""The audit: what was read is told by the reader itself, and recorded before the answer is sent."""
