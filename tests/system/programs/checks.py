"""What programs of system tests say of what they find."""

import sys


def expect(condition, what):
    if not condition:
        sys.exit(f"FAILED: {what}")


def failure(call, *arguments):
    """The errno of a call that fails, or 0."""
    try:
        call(*arguments)
    except OSError as e:
        return e.errno
    return 0
