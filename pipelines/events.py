"""What happens to a version, told to Prefect, and from there to whoever listens (Slack, or any webhook)."""

from contextlib import suppress
from typing import Any

PREFIX = "wpn."
NOTIFICATIONS = "wpn-notifications"  # the block that holds the address, and the automation that uses it
# One JSON object a notification: `text` is what Slack, Mattermost and Teams' own webhooks show.
PAYLOAD = (
    '{"text": {{ event.payload.text | tojson }}, "event": {{ event.event | tojson }},'
    ' "row": {{ event.payload.row | tojson }}}'
)
FAILED_PAYLOAD = (
    '{"text": {{ ("flow run " ~ event.resource.name ~ " ended badly") | tojson }}, "event": {{ event.event | tojson }}}'
)


def tell(what: str, name: str, text: str, row: dict[str, Any]) -> None:
    """Emit an event about a registered model: promoted, refused, withdrawn, rolled-back, by-hand, drift."""
    from prefect.events import emit_event

    resource = {"prefect.resource.id": f"wpn.model.{name}", "prefect.resource.name": name}
    emit_event(event=f"{PREFIX}{what}", resource=resource, payload={"text": f"{name}: {text}", "row": row})


def notify(url: str) -> None:
    """Have Prefect's server post what happens to the models, and failed runs of our flows, to a webhook.

    Running it again changes the address.
    """
    from prefect.automations import Automation
    from prefect.blocks.webhook import Webhook
    from prefect.events import EventTrigger
    from prefect.events.actions import CallWebhook

    # the address is often a secret (Slack's is): a block keeps it encrypted
    block = Webhook.model_validate({"url": url, "headers": {"Content-Type": "application/json"}})
    block_id: Any = block.save(NOTIFICATIONS, overwrite=True)
    wanted = {
        NOTIFICATIONS: (EventTrigger(expect={f"{PREFIX}*"}, match={"prefect.resource.id": "wpn.model.*"}), PAYLOAD),
        f"{NOTIFICATIONS}-failures": (
            EventTrigger(
                expect={"prefect.flow-run.Failed", "prefect.flow-run.Crashed", "prefect.flow-run.TimedOut"},
                match_related={
                    "prefect.resource.role": "flow",
                    "prefect.resource.name": ["unlearn", "promote", "reassess"],
                },
            ),
            FAILED_PAYLOAD,
        ),
    }
    for name, (trigger, payload) in wanted.items():
        call = CallWebhook(block_document_id=block_id, payload=payload)
        _replace(Automation(name=name, trigger=trigger, actions=[call]))


def _replace(automation: Any) -> None:
    from prefect.automations import Automation
    from prefect.exceptions import ObjectNotFound

    with suppress(ValueError, ObjectNotFound):  # the first time
        known: Any = Automation.read(name=automation.name)
        known.delete()
    automation.create()
