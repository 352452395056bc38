"""What confluent-kafka (librdkafka) asks of a broker; a line an answer, which scripts/test-tools checks.

confluent.py BOOTSTRAP TOPIC
"""

import sys
import time

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

bootstrap, topic = sys.argv[1:]
kafka = {"bootstrap.servers": bootstrap}

admin = AdminClient(kafka)
settings = {"cleanup.policy": "compact", "segment.ms": "600000"}
for created in admin.create_topics([NewTopic(topic, 2, 1, config=settings)]).values():
    created.result(20)
print("created")
# Of all topics: librdkafka sends three bytes too many.
deadline = time.monotonic() + 20
while topic not in admin.list_topics(timeout=10).topics and time.monotonic() < deadline:
    pass
print("listed", topic in admin.list_topics(timeout=10).topics)

outcomes = []
producer = Producer(kafka | {"enable.idempotence": True})
for number in range(10):
    producer.produce(topic, key=str(number), value="v", on_delivery=lambda error, _: outcomes.append(error))
producer.flush(20)
print("produced", outcomes.count(None))
producer = Producer(kafka)
producer.produce(topic, value="v", on_delivery=lambda error, _: print("keyless", error.name()))
producer.flush(20)

consumer = Consumer(kafka | {"group.id": topic, "auto.offset.reset": "earliest"})
consumer.subscribe(["^" + topic + ".*"])
read, deadline = 0, time.monotonic() + 30
while read < 10 and time.monotonic() < deadline:
    record = consumer.poll(0.5)
    read += record is not None and record.error() is None
consumer.close()
print("read by a regular expression", read)

start = time.monotonic()
try:
    Producer(kafka | {"transactional.id": topic, "log_level": 0}).init_transactions(30)
    print("transactions")
except KafkaException as failed:
    error = failed.args[0]
    print("no transactions", error.name(), "fatal" if error.fatal() else "", "at once" if time.monotonic() - start < 10 else "late")
