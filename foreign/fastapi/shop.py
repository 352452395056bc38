"""A FastAPI system's Order Service and Notification Service beside our other parts, by confluent-kafka.

    shop.py BOOTSTRAP

It places orders in snake_case, once with librdkafka's own partitioner (CRC32) and once with that of the Java client,
and reads their notifications. Only what touches Kafka is here; an HTTP framework around it changes nothing.
"""

import json
import sys
import time
import uuid

from confluent_kafka import Consumer, Producer

PATIENCE = 60


def place(bootstrap: str, partitioner: str, order: dict) -> int:
    """Sends an order and returns the partition that it got."""
    places = []
    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": partitioner, "acks": "all"})
    producer.produce(
        "orders",
        key=order["order_id"],
        value=json.dumps(order),
        on_delivery=lambda error, message: places.append((error, message.partition())),
    )
    producer.flush(30)
    error, partition = places[0]
    assert error is None, error
    return partition


def results(bootstrap: str, wanted: set) -> dict:
    """The notifications of some orders."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"fastapi-{uuid.uuid4()}",
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe(["notifications"])
    found = {}
    end = time.monotonic() + PATIENCE
    while wanted - found.keys() and time.monotonic() < end:
        message = consumer.poll(1.0)
        if message is None or message.error():
            continue
        notification = json.loads(message.value())
        if notification["order_id"] in wanted:
            found[notification["order_id"]] = notification
    consumer.close()
    return found


def main(bootstrap: str) -> None:
    run = uuid.uuid4()
    orders = {
        # A float, as Pydantic writes a field of type float; a local time; a user known by UUID.
        "consistent_random": {"quantity": 2.0, "created_at": "2026-01-02T03:04:05.678"},
        "murmur2_random": {"quantity": 1000, "created_at": 1767323045.678},
    }
    partitions = {}
    for partitioner, fields in orders.items():
        order = {"order_id": f"{run}-{partitioner}", "user_id": str(uuid.uuid4()), "item": "laptop", **fields}
        partitions[partitioner] = place(bootstrap, partitioner, order)
    print(f"sent two orders, to partitions {partitions}")
    found = results(bootstrap, {f"{run}-{partitioner}" for partitioner in orders})
    statuses = {partitioner: found.get(f"{run}-{partitioner}", {}).get("status") for partitioner in orders}
    expected = {"consistent_random": "CONFIRMED", "murmur2_random": "REJECTED"}
    assert statuses == expected, statuses
    print(f"read their notifications: {statuses}")


if __name__ == "__main__":
    main(sys.argv[1])
