"""What became of a delivery, as one HTML page for the person who handed it in: on the screen and on A4 paper."""
