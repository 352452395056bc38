"""Book events as other clients send them: JSON without headers, the id in the body; on topics of a run's own."""
import json
import random
import subprocess
from collections import Counter

from process import BOOTSTRAP

# Of a hundred events, and who is the key.
KINDS = {
    "views": (60, "book"), "downloads": (20, "user"), "purchases": (10, "user"), "reviews": (3, "book"),
    "ratings": (7, "book")}
USERS = 50_000


class BookEvents:
    """What was sent, and what it has to come to."""

    def __init__(self, run, books):
        self.run, self.books = run, books
        self.dice = random.Random(1)
        self.sent = 0
        self.counts, self.revenue, self.rated, self.seen = Counter(), 0, set(), set()

    def topic(self, kind):
        return f"{self.run}-{kind}"

    def topics(self):
        """The variables that name them."""
        return {f"BOOK_{kind.upper()}_TOPIC": self.topic(kind) for kind in KINDS}

    def send(self, count):
        """Every book is as likely as every other: the hardest for memory and database."""
        feeds = {kind: self.feed(kind) for kind in KINDS}
        kinds = self.dice.choices(list(KINDS), [share for share, _ in KINDS.values()], k=count)
        for kind in kinds:
            feeds[kind].stdin.write(self.line(kind))
        for kind, feed in feeds.items():
            feed.stdin.close()
            if feed.wait():
                raise SystemExit(f"kcat could not fill {self.topic(kind)}")

    def feed(self, kind):
        arguments = ["-P", "-b", BOOTSTRAP, "-t", self.topic(kind), "-K", "\t", "-X", "topic.partitioner=murmur2_random"]
        return subprocess.Popen(["kcat", *arguments], stdin=subprocess.PIPE, text=True, bufsize=1 << 20)

    def line(self, kind):
        self.sent += 1
        book, user = self.dice.randrange(1, self.books + 1), f"u-{self.dice.randrange(USERS)}"
        self.seen.add(book)
        self.counts[kind] += 1
        extra = ""
        if kind == "purchases":
            amount = self.dice.randrange(10_000, 1_000_000)
            self.revenue += amount
            extra = f',"amount":{amount},"currency":"RUB"'
        elif kind == "reviews":
            extra = ',"action":"created","text":"Read within two evenings."'
        elif kind == "ratings":
            self.rated.add((book, user))
            extra = f',"rating":{self.dice.randrange(1, 6)}'
        key = book if KINDS[kind][1] == "book" else user
        return (
            f'{key}\t{{"eventId":"{self.run}-{self.sent}","bookId":{book},"userId":"{user}",'
            f'"timestamp":"2026-01-01T00:00:00Z"{extra}}}\n')

    def overview(self):
        """The figures of SYSTEM_OVERVIEW; of a user's ratings of a book one counts."""
        counts = {kind: self.counts[kind] for kind in KINDS} | {"ratings": len(self.rated)}
        return counts | {"books": len(self.seen), "revenue": {"RUB": self.revenue}}


def last_overview(topic):
    """The last SYSTEM_OVERVIEW that was published, without its average."""
    read = subprocess.run(
        ["kcat", "-C", "-q", "-e", "-b", BOOTSTRAP, "-t", topic, "-o", "beginning"],
        stdout=subprocess.PIPE, text=True, check=True)
    said = [json.loads(line) for line in read.stdout.splitlines() if '"SYSTEM_OVERVIEW"' in line]
    data = max(said, key=lambda aggregate: aggregate["generatedAt"])["data"]
    return {name: value for name, value in data.items() if name != "averageRating"}
