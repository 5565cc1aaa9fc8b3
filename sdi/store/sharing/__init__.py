"""Who layers are shared with, by which keys they are known, and what they were granted."""
