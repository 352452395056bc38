"""A fresh database for one run of a service."""
import contextlib
import os
import sqlite3
import subprocess
import urllib.parse

SERVER = os.environ.get("DATABASE_URL", "")
KIND = "PostgreSQL" if SERVER.startswith("postgres") else "SQLite"


@contextlib.contextmanager
def fresh_database(folder, name):
    """A file in `folder`, or where DATABASE_URL names a PostgreSQL a database beside that one, gone afterwards."""
    if KIND == "SQLite":
        yield Database(f"sqlite:{folder / name}.db")
        return
    admin, url = Database(SERVER), urllib.parse.urlsplit(SERVER)
    admin.ask(f'CREATE DATABASE "{name}"')
    try:
        yield Database(urllib.parse.urlunsplit(url._replace(path=f"/{name}")))
    finally:
        admin.ask(f'DROP DATABASE "{name}" WITH (FORCE)')


class Database:
    def __init__(self, url):
        self.url = url

    def ask(self, sql):
        """The first column of the first row as text; empty without one."""
        if self.url.startswith("sqlite:"):
            with contextlib.closing(sqlite3.connect(self.url.removeprefix("sqlite:"))) as connection:
                row = connection.execute(sql).fetchone()
                return str(row[0]) if row else ""
        asked = subprocess.run(
            ["psql", self.url, "--no-psqlrc", "-qAtc", sql], stdout=subprocess.PIPE, text=True, check=True)
        return asked.stdout.strip()
