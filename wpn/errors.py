"""The one exception that means "the user can mend this"."""


class InputError(ValueError):
    """Bad input, said in one sentence: what is wrong, where (file, row, key), and the remedy.

    The command line prints the sentence without a traceback and exits with 2.
    """
