"""Search for better settings of a recipe: what is searched (`space`), and how."""
