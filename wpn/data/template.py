"""How a prompt is put to the model: a template that holds {prompt} once, as in "user : {prompt}\\nbot :".

And how a response without a space in front follows it.
"""

import re

PLACE = "{prompt}"
HANGING = re.compile(r"[,.;:!?)\]}…]|n't\b|['\u2019](?:s|re|ve|ll|d|m|t)\b", re.IGNORECASE)


def put(template: str, said: str) -> str:
    """What a user says, as the model is asked."""
    return template.replace(PLACE, said)


def around(template: str) -> tuple[str, str]:
    """What stands before the user's words, and what after them."""
    before, _, after = template.partition(PLACE)
    return before, after


def said_in(template: str, prompt: str) -> str:
    """What the user says in a prompt that was put so."""
    before, after = around(template)
    return prompt.removeprefix(before).removesuffix(after)


def spaced(prompt: str, response: str) -> str:
    """A response as it follows its prompt.

    That is after a space, unless it hangs on the prompt's last word (", but", "'s") or the prompt ends in white space
    itself, as many a chat's template does.
    """
    return response if HANGING.match(response) or prompt[-1:].isspace() else f" {response}"
