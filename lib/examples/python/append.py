#!/usr/bin/env python3
"""append.py - a business row and its event in one transaction, from Python with psycopg 3.

Needs: CREATE TABLE orders (id bigint PRIMARY KEY, item text), sql/001_outbox.up.sql, and the right of
outbox_writer. Run: python3 append.py 'dbname=shop' 4711
"""
import json
import sys

import psycopg
from psycopg.types.json import Jsonb

APPEND = """
    SELECT outbox.append(topic => 'orders', key => %s, type => 'com.example.order.placed',
                         payload => %s, headers => %s, content_type => 'application/json')
"""


def place_order(conn, order, item):
    """The event leaves if and only if the order is committed. Returns the id of the event."""
    payload = json.dumps({"order": order, "item": item}).encode()
    headers = Jsonb([["tenant", "eu"]])  # pairs, in order
    with conn.transaction():
        conn.execute("INSERT INTO orders (id, item) VALUES (%s, %s)", (order, item))
        # Bytes, and not text: a key of bytes is the key of the record as it is.
        row = conn.execute(APPEND, (str(order).encode(), payload, headers)).fetchone()
    return row[0]


if __name__ == "__main__":
    with psycopg.connect(sys.argv[1]) as connection:
        print(place_order(connection, int(sys.argv[2]), "book"))
