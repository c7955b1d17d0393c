"""What a person reads of a service: conditions with their causes, figures, advice."""
