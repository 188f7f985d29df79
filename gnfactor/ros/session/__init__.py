"""One run with an operator: asked, shown, obeyed."""
