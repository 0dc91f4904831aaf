"""idembench."""
