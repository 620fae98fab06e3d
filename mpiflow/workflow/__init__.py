"""YAML text to a typed document with line numbers, its expressions, and the networkx DAG of its names."""
