"""What all sources stand on: the command around them, splits, tables, image files."""
