"""Updates masks between prunings, while the model trains."""
