"""Makes the status that people read: conditions with their causes, figures, advice."""
