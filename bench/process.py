"""A service as a process of its own: started in a fresh folder, measured by /proc, stopped in good order."""
import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
REPOSITORY = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")).resolve()
PROGRAMS = TARGET / "release"
BOOTSTRAP = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:19092")


def cpu_seconds(pid):
    """User and system time of all its threads, those that ended included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def until(condition, what, seconds=300, pause=0.01):
    """What `condition` gives once it is true; ends the benchmark where that takes too long."""
    end = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > end:
            raise SystemExit(f"{what}: not within {seconds} s")
        time.sleep(pause)
    return result


def fresh_folder(name):
    folder = TARGET / "bench" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


class Service:
    """Killed at the end of a `with` in which nobody has stopped it."""

    def __init__(self, program, folder, environment):
        self.program, self.log = program.name, folder / f"{program.name}.log"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        settings = {"KAFKA_BOOTSTRAP_SERVERS": BOOTSTRAP, "HTTP_ADDR": f"127.0.0.1:{self.port}", "LOG_LEVEL": "warn"}
        with self.log.open("a") as log:
            self.began = time.monotonic()
            # In that folder, so that no .env is read.
            self.process = subprocess.Popen(
                [program], cwd=folder, env=os.environ | settings | environment,
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def cpu(self):
        return cpu_seconds(self.process.pid)

    def peak_mb(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6

    def get(self, path):
        """Status and body; status 0 where it does not answer."""
        if self.process.poll() is not None:
            raise SystemExit(f"{self.program} has ended with {self.process.returncode}; see {self.log}")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        return 0, ""

    def wait_ready(self):
        """Until nothing is missing; seconds since its start."""
        until(lambda: self.get("/readyz?strict")[0] == 200, f"{self.program} ready (see {self.log})")
        return time.monotonic() - self.began

    def metrics(self):
        """Values by name with labels, as they stand in /metrics."""
        lines = [line for line in self.get("/metrics")[1].splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    def stop(self):
        """Seconds that an orderly end took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(60)
        if status:
            raise SystemExit(f"{self.program} has ended with {status}; see {self.log}")
        return time.monotonic() - began
