"""Operations: the decorator, the values they take and give, the registry, and the built-in ones."""
