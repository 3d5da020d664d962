"""A stage as several processes on one machine's cards: accelerate, with the file that `runtime.launch` names."""

import logging
import os
from pathlib import Path

from wpn.errors import InputError

FILES = Path(__file__).parent / "devices"
KINDS = ("MULTI_GPU", "FSDP")  # of accelerate's distributed_type; the others start something else
MARK = "WPN_LAUNCHED"  # in the environment of the processes; their number may be one


def launched() -> bool:
    """This is a process that `launch` started."""
    return MARK in os.environ


def launch(name: str, module: str, arguments: list[str]) -> int:
    """Run `python -m module` as the processes that pipelines/devices/NAME.yaml describes.

    Returns:
        The exit code of the process that failed first, 0 where none did; 128 and the signal's number where it was
        killed, as a shell says it.
    Raises:
        InputError: there is no such file, or it describes no several processes.
    """
    file = FILES / f"{name}.yaml"
    if not file.exists():
        known = ", ".join(sorted(path.stem for path in FILES.glob("*.yaml")))
        raise InputError(f"params.yaml: runtime.launch is {name!r}, and pipelines/devices has {known}; choose one")
    _check(file)
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the process has said why it failed
    port = ["--main_process_port", "0"]  # a free one: two stages may run at a time
    chosen = launch_command_parser().parse_args(["--config_file", str(file), *port, "--module", module, *arguments])
    os.environ[MARK] = name
    try:
        launch_command(chosen)
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        code: int = failure.exitcode
        return 128 - code if code < 0 else code  # below 0: the signal; a killed stage is tried again (repro.KILLED)
    return 0


def _check(file: Path) -> None:
    from ruamel.yaml import YAML, YAMLError

    try:
        described = YAML(typ="safe").load(file)
    except YAMLError as error:
        raise InputError(
            f"pipelines/devices/{file.name} is no YAML: {str(error).partition(chr(10))[0]}; correct it"
        ) from None
    kind = described.get("distributed_type") if isinstance(described, dict) else None
    if kind not in KINDS:
        raise InputError(
            f"pipelines/devices/{file.name}: distributed_type is {kind!r}, and a launch needs {' or '.join(KINDS)}; "
            "correct it, or set runtime.launch to null"
        )
