"""What a fast scorer says of a model that it cannot evaluate."""


class Untranslatable(ValueError):
    """A fitted model, or a part of one, has no fast form; the message names the part."""
