"""The exceptions that rloop adds to asyncio's.

There is one: what a program gets when it insists on a backend that cannot work here. Everything
else that rloop raises is asyncio's own type with asyncio's own text.
"""


class BackendUnavailable(RuntimeError):
    """A backend was demanded that cannot be used; the text says what to change."""
