"""What features are written as, kept for who asks next: in a worker's memory, and in files that its machine's workers
share."""
