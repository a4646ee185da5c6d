"""The study page: one HTML file that opens from disk, made of cards."""
