"""What happens to a version, told to Prefect, and from there to whoever listens (Slack, or any webhook)."""

from datetime import timedelta
from typing import Any

PREFIX = "wpn."
NOTIFICATIONS = "wpn-notifications"  # the block that holds the address, and the automation that uses it
HEARTBEAT = 30  # seconds, the least that Prefect takes
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


def end_lost_runs() -> None:
    """Have Prefect's server call a run crashed whose process is gone: it would hold its deployment's slot for ever.

    Runs say every HEARTBEAT seconds that they live (the worker's environment asks for it).
    """
    from prefect.automations import Automation
    from prefect.client.schemas.objects import StateType
    from prefect.events import EventTrigger
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import Posture

    ends = ("Completed", "Failed", "Cancelled", "Crashed")
    trigger = EventTrigger(
        posture=Posture.Proactive,
        after={"prefect.flow-run.heartbeat"},
        expect={"prefect.flow-run.heartbeat", *(f"prefect.flow-run.{end}" for end in ends)},
        match={"prefect.resource.id": "prefect.flow-run.*"},
        for_each={"prefect.resource.id"},
        threshold=1,
        within=timedelta(seconds=3 * HEARTBEAT),
    )
    said = "its process has not been heard of; it was lost"
    crash = ChangeFlowRunState(name=None, state=StateType.CRASHED, message=said, force=False)
    automation = Automation(name="wpn-lost-runs", trigger=trigger, actions=[crash])
    if _known(automation.name) is None:  # a new one would not know of the runs that are lost already
        automation.create()


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
    if known := _known(automation.name):
        known.delete()
    automation.create()


def _known(name: str) -> Any:
    from prefect.automations import Automation
    from prefect.exceptions import ObjectNotFound

    try:
        return Automation.read(name=name)
    except (ValueError, ObjectNotFound):
        return None
