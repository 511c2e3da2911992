"""A typed text → the concepts in it, one a line."""

from __future__ import annotations


def split_concepts(*texts: str) -> tuple[str, ...]:
    r"""Return the concepts that texts name, each once, in their order.

    Parameters
    ----------
    *texts : str
        Each line names a concept; empty lines and white space around one count for nothing.

    Returns
    -------
    tuple of str
        Of those that differ in upper and lower case only, the first.

    Examples
    --------
    >>> split_concepts("nucleus\n\n  cell wall ", "Nucleus")
    ('nucleus', 'cell wall')
    """
    lines = (line.strip() for text in texts for line in text.splitlines())
    concepts: dict[str, str] = {}
    for line in filter(None, lines):
        concepts.setdefault(line.casefold(), line)
    return tuple(concepts.values())
