"""The interpretations of a program. They read `core` and never each other."""
