"""The life of a model version on a team's servers: `wpn up`, nightly, approval over REST, promotion on schedule,
rollback, history, `wpn down`. The stages are the toy project's; servers, worker and deployments are real."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

from pipelines.processes import free_port, is_taken
from tests.pipelines import postgres
from tests.pipelines.toy import PROMPT, REPOSITORY, make_checkpoint, run

NAME = "wpn-opt"
USERS = {"admin": "a password of admin", "ana": "a password of ana's", "ben": "a password of ben's"}
Answer = TypeVar("Answer")


class Listener(BaseHTTPRequestHandler):
    """Keeps what is posted to it."""

    posted: list[dict[str, Any]]

    def do_POST(self) -> None:
        assert self.headers["Content-Type"] == "application/json"
        self.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


class Team:
    """The stack in a toy project, and what its people do."""

    def __init__(self, root: Path, environment: dict[str, str]) -> None:
        self.root = root
        self.mlflow_port, self.prefect_port = free_port(), free_port()
        self.environment = environment
        self.auth = False
        self.listener = ThreadingHTTPServer(("127.0.0.1", 0), type("Kept", (Listener,), {"posted": []}))
        threading.Thread(target=self.listener.serve_forever, daemon=True).start()

    @property
    def posted(self) -> list[dict[str, Any]]:
        return self.listener.RequestHandlerClass.posted  # type: ignore[attr-defined,no-any-return]

    @property
    def addresses(self) -> dict[str, str]:
        return {
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{self.mlflow_port}",
            "PREFECT_API_URL": f"http://127.0.0.1:{self.prefect_port}/api",
        }

    def wpn(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pipelines.cli", *words],
            cwd=self.root, env={**self.environment, **environment}, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def up(self, *options: str) -> str:
        if "--auth" in options:
            self.auth = True
            self.environment |= {**as_user("admin"), "PREFECT_API_AUTH_STRING": "team:a password of all"}
        ports = ["--prefect-port", str(self.prefect_port), "--mlflow-port", str(self.mlflow_port)]
        done = self.wpn("up", *ports, "--notify", f"http://127.0.0.1:{self.listener.server_port}/hook", *options)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def prefect(self, path: str, body: Any = None, status: int = 200, method: str | None = None) -> Any:
        credentials = self.environment.get("PREFECT_API_AUTH_STRING", "")
        return ask(f"{self.addresses['PREFECT_API_URL']}/{path}", body, status, credentials, method)

    def mlflow(self, path: str, body: Any = None, user: str = "admin", status: int = 200, version: str = "2.0") -> Any:
        credentials = f"{user}:{USERS[user]}" if self.auth else ""
        return ask(f"{self.addresses['MLFLOW_TRACKING_URI']}/api/{version}/mlflow/{path}", body, status, credentials)

    def deployment(self, name: str) -> str:
        return str(self.prefect(f"deployments/name/{name}")["id"])

    def start(self, name: str, status: int = 201, **parameters: Any) -> Any:
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return self.prefect(f"deployments/{self.deployment(name)}/create_flow_run", body, status)

    def run(self, name: str, **parameters: Any) -> None:
        started = self.start(name, **parameters)["id"]

        def ended() -> bool:
            state = self.prefect(f"flow_runs/{started}")["state"]
            if state["type"] in ("FAILED", "CRASHED", "CANCELLED"):
                raise AssertionError(f"{name}: {state['message']}\n{self.logs()}")
            return bool(state["type"] == "COMPLETED")

        self.wait_for(ended)

    def completed_since(self, flow: str, moment: str) -> list[Any]:
        """Runs of a flow that began after a moment and have completed."""
        chosen = {
            "flows": {"name": {"any_": [flow]}},
            "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}, "start_time": {"after_": moment}},
        }
        return list(self.prefect("flow_runs/filter", chosen))

    @contextmanager
    def on_schedule(self, name: str, seconds: int) -> Iterator[None]:
        """While the block lasts; a process that starts every few seconds would hold up what comes after."""
        schedule = {"interval": seconds, "anchor_date": datetime.now(UTC).isoformat()}
        place = f"deployments/{self.deployment(name)}/schedules"
        (made,) = self.prefect(place, [{"schedule": schedule, "active": True}], 201)
        try:
            yield
        finally:
            self.prefect(f"{place}/{made['id']}", status=204, method="DELETE")

    def approve(self, version: str, user: str = "ana", status: int = 200) -> None:
        """As a script of the reviewer's would: MLflow's REST API."""
        body = {"name": NAME, "version": version, "key": "approval", "value": "approved"}
        self.mlflow("model-versions/set-tag", body, user, status)

    def champion(self) -> str | None:
        found = self.mlflow(f"registered-models/get?name={NAME}")["registered_model"]
        aliases = {each["alias"]: each["version"] for each in found.get("aliases", [])}
        return aliases.get("champion")

    def wait_for(self, holds: Callable[[], Answer], seconds: float = 120) -> Answer:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if answer := holds():
                return answer
            time.sleep(0.5)
        raise AssertionError(f"not within {seconds} s\n{self.logs()}")

    def logs(self) -> str:
        files = sorted((self.root / "build" / "stack").glob("*.log"))
        return "\n".join(f"{file.name}:\n{file.read_text()[-3000:]}" for file in files)


def as_user(name: str) -> dict[str, str]:
    """The environment of somebody who talks to MLflow."""
    return {"MLFLOW_TRACKING_USERNAME": name, "MLFLOW_TRACKING_PASSWORD": USERS[name]}


def ask(
    url: str, body: Any = None, status: int = 200, credentials: str = "", method: str | None = None, patience: int = 5
) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    if credentials:
        headers["Authorization"] = f"Basic {base64.b64encode(credentials.encode()).decode()}"
    request = urllib.request.Request(url, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.status in (status, 200, 201), answer.status
            return json.loads(answer.read() or "null")
    except urllib.error.HTTPError as error:
        said = error.read().decode()
        if error.code == 503 and patience:  # SQLite is locked; Prefect's own client tries again too
            time.sleep(1)
            return ask(url, body, status, credentials, method, patience - 1)
        assert error.code == status, f"{url}: {error.code}: {said}"
        return said


@pytest.fixture
def team(fresh_project: Path, tmp_path: Path) -> Iterator[Team]:
    root = fresh_project
    shutil.copy(REPOSITORY / "prefect.yaml", root)
    params = root / "params.yaml"
    text = params.read_text()
    for long, short in (("models: [opt, gpt-neo]", "models: [opt]"), ("methods: [wpn, sft]", "methods: [wpn]")):
        assert long in text
        text = text.replace(long, short)
    params.write_text(text)
    run(root, "git -c user.name=toy -c user.email=toy@example.org commit -qam one-model")
    foreign = ("PREFECT_", "MLFLOW_")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    environment |= {"HOME": str(tmp_path), "PREFECT_HOME": str(tmp_path / "home"), "PREFECT_WORKER_QUERY_SECONDS": "1"}
    environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    environment |= {"PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2"}  # of 60: until a new schedule is seen
    made = Team(root, environment)
    yield made
    made.wpn("down")
    made.listener.shutdown()


STORES = [pytest.param("sqlite"), pytest.param("postgresql", marks=pytest.mark.slow)]


@pytest.mark.parametrize("store", STORES)
def test_a_version_lives_from_nightly_to_rollback(team: Team, store: str) -> None:
    if store == "sqlite":
        live(team, "--auth")
        return
    with postgres.server() as place:
        live(
            team,
            "--prefect-store", f"postgresql+asyncpg://{place}/prefect",
            "--mlflow-store", f"postgresql+psycopg2://{place}/mlflow",
        )  # fmt: skip


def live(team: Team, *options: str) -> None:
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], cwd=team.root)
    said = team.up(*options)
    assert f"MLflow:  http://127.0.0.1:{team.mlflow_port}" in said
    assert "deployment unlearn/nightly: 0 2 * * *" in said and "deployment promote/promote: every 0:05:00" in said
    assert "deployment reassess/weekly: 0 6 * * 0" in said

    # nightly: a name that params.yaml does not have is refused by the server, before there is a run
    refusal = team.start("unlearn/nightly", status=409, models=["bert"])
    assert "'bert' is not one of ['opt']" in refusal
    assert all(run["auto_scheduled"] for run in team.prefect("flow_runs/filter", {}))
    team.run("unlearn/nightly", models=["opt"], methods=["wpn"])
    tags = version_tags(team, "1")
    assert (tags["gate"], tags["approval"]) == ("passed", "pending") and team.champion() is None

    # approved over REST, promoted by the schedule, loaded by another process
    if team.auth:
        give_ana_the_say(team)
    team.approve("1")
    with team.on_schedule("promote/promote", 10):
        team.wait_for(lambda: team.champion() == "1")
    assert loaded_answer(team).startswith(PROMPT)
    assert version_tags(team, "1")["promoted_by"] == "flow promote"

    # a second one, of other weights
    make_checkpoint(team.root / "checkpoint", seed=1)
    team.run("unlearn/nightly", models=["opt"])
    assert version_tags(team, "2")["weights_sha256"] != tags["weights_sha256"] and team.champion() == "1"
    team.approve("2")
    with team.on_schedule("promote/promote", 10):
        team.wait_for(lambda: team.champion() == "2")

        # rolled back, and not brought back by the schedule
        done = team.wpn("rollback", NAME, "--by", "ben", "--reason", "users complain", **team.addresses)
        assert done.stdout == f"{NAME}: version 1 is champion again, in place of 2.\n", done.stderr
        moment = datetime.now(UTC).isoformat()
        team.wait_for(lambda: team.completed_since("promote", moment))
    assert team.champion() == "1"
    history = json.loads(team.wpn("history", NAME, "--json", **team.addresses).stdout)
    assert [(each["action"], each["replaced"], each["to"]) for each in history] == [
        ("promote", None, "1"), ("promote", "1", "2"), ("rollback", "2", "1"),
    ]  # fmt: skip
    assert "users complain" in team.wpn("history", NAME, **team.addresses).stdout
    assert "promoted by ben" in team.wpn("explain", NAME, "1", **team.addresses).stdout

    # told to the webhook
    team.wait_for(lambda: len(team.posted) >= 3, 30)
    assert [each["event"] for each in team.posted] == ["wpn.promoted", "wpn.promoted", "wpn.rolled-back"]
    assert team.posted[0]["text"] == f"{NAME}: promoted version 1" and "users complain" in team.posted[2]["text"]

    # down: all of ours, and nothing else
    assert len(team.wpn("down").stdout.splitlines()) == 3
    assert not is_taken("127.0.0.1", team.mlflow_port) and not is_taken("127.0.0.1", team.prefect_port)
    left = {p.pid for p in psutil.process_iter() if belongs_to(p, team.root)} - {os.getpid()}
    assert left == {bystander.pid}, "the bystander is not ours"
    bystander.kill()
    assert team.wpn("down").stdout == "Nothing was started by `wpn up`.\n"


def give_ana_the_say(team: Team) -> None:
    """Strangers see nothing; users read; who may edit the registered model approves."""
    for path in (f"{team.addresses['MLFLOW_TRACKING_URI']}/api/2.0/mlflow/registered-models/search",
                 f"{team.addresses['PREFECT_API_URL']}/admin/version"):  # fmt: skip
        ask(path, status=401)
    stranger = {**team.addresses, "MLFLOW_TRACKING_PASSWORD": "guessed"}
    for words in (["history", NAME], ["promote"]):
        done = team.wpn(*words, **stranger)
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
        assert "set or correct MLFLOW_TRACKING_USERNAME" in done.stderr
    nobody = {**team.addresses, "PREFECT_API_AUTH_STRING": "guessed:too"}
    assert "set or correct PREFECT_API_AUTH_STRING" in team.wpn("automate", **nobody).stderr

    for user in ("ana", "ben"):
        team.mlflow("users/create", {"username": user, "password": USERS[user]})
    edit = {"username": "ana", "resource_type": "registered_model", "resource_id": NAME, "permission": "EDIT"}
    team.mlflow("users/permissions/grant", edit, version="3.0")
    team.approve("1", user="ben", status=403)
    reader = {**team.addresses, **as_user("ben")}
    assert "gate passed, approval pending" in team.wpn("explain", NAME, "1", **reader).stdout
    refused = team.wpn("approve", NAME, "1", "--by", "ben", "--reason", "I may not", **reader)
    assert (refused.returncode, refused.stderr) == (
        2, "wpn: MLflow does not let ben do this; ask its admin for the permission EDIT on the registered model\n"
    )  # fmt: skip
    assert version_tags(team, "1")["approval"] == "pending"


def belongs_to(process: psutil.Process, root: Path) -> bool:
    try:
        return Path(process.cwd()) == root
    except (psutil.Error, OSError):
        return False


def version_tags(team: Team, version: str) -> dict[str, str]:
    found = team.mlflow(f"model-versions/get?name={NAME}&version={version}")["model_version"]
    return {tag["key"]: tag["value"] for tag in found["tags"]}


def loaded_answer(team: Team) -> str:
    code = f"import mlflow, sys; print(mlflow.pyfunc.load_model('models:/{NAME}@champion').predict([sys.argv[1]])[0])"
    done = subprocess.run(
        [sys.executable, "-c", code, PROMPT],
        env={**team.environment, **team.addresses}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_port_of_somebody_else_is_said_and_left_alone(team: Team) -> None:
    taken = team.listener.server_port
    done = team.wpn("up", "--prefect-port", str(taken), "--mlflow-port", str(team.mlflow_port))
    assert done.returncode == 2
    assert done.stderr == (f"wpn: port {taken} belongs to another process; end it, or choose one with --prefect-port\n")
    assert team.wpn("down").stdout == "Nothing was started by `wpn up`.\n"


def test_users_without_an_admin_are_refused(team: Team) -> None:
    done = team.wpn("up", "--auth", MLFLOW_TRACKING_USERNAME="admin")
    said = "MLFLOW_TRACKING_PASSWORD, PREFECT_API_AUTH_STRING not set; with --auth they name who may do everything"
    assert (done.returncode, done.stderr) == (2, f"wpn: {said}\n")
    assert team.wpn("down").stdout == "Nothing was started by `wpn up`.\n"


@pytest.mark.slow
def test_a_worker_killed_in_mid_stage_and_a_server_killed_are_made_good_by_the_next_run(team: Team) -> None:
    from tests.pipelines.toy import breaks

    breaks(team.root, "evaluate@opt-wpn", "hang")
    team.up()
    team.start("unlearn/nightly", models=["opt"])
    team.wait_for(lambda: "evaluate@opt-wpn" in ran(team.root))
    state = json.loads((team.root / "registry" / "stack.json").read_text())
    for name in ("worker", "mlflow server"):
        for process in [psutil.Process(state[name]["pid"]), *psutil.Process(state[name]["pid"]).children(True)]:
            process.kill()
    (team.root / "break" / "evaluate@opt-wpn").unlink()

    assert "prefect server runs already" in team.up(), "the dead ones are started again, the living one is left"
    lost = {"flow_runs": {"state": {"type": {"any_": ["CRASHED"]}}}}
    team.wait_for(lambda: team.prefect("flow_runs/filter", lost), 240)  # until then it holds the deployment's slot
    team.wait_for(lambda: team.posted, 30)
    assert re.fullmatch(r"flow run [\w-]+ ended badly", team.posted[0]["text"])
    assert team.posted[0]["event"] == "prefect.flow-run.Crashed"
    team.run("unlearn/nightly", models=["opt"])
    assert version_tags(team, "1")["gate"] == "passed"
    assert ran(team.root).count("unlearn@opt-wpn") == 1, "what was finished was not repeated"


def ran(root: Path) -> list[str]:
    log = root / "runs.log"
    return log.read_text().split() if log.exists() else []
