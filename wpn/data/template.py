"""How a prompt is put to the model: a template that holds {prompt} once, as in "user : {prompt}\\nbot :"."""

PLACE = "{prompt}"


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
