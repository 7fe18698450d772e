"""What may come of a mutant, apart from a clean answer."""


class Wrong(Exception):
    """A mutant that was read as something that it does not say, or refused mutely."""


def check_message(error: Exception, path: object) -> None:
    """Raises `Wrong` unless an error names the file and can be read by a person."""
    text = str(error)
    if str(path) not in text or len(text) > 5000:
        raise Wrong(f"no sentence about the file: {text[:300]}")
