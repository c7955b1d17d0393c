"""A fleet of simulated replicas, and what a scaling law sees of it."""
