"""The audit: what was read is told by the reader itself, and handed to the recorder before the answer is sent."""
