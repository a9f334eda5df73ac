-- inventory.sql - the schema of the service of the stock: what is there, and a ledger that is only added to.

CREATE SCHEMA inventory;

CREATE TABLE inventory.stock (
    item      text   PRIMARY KEY,
    received  bigint NOT NULL,
    on_hand   bigint NOT NULL CHECK (on_hand BETWEEN 0 AND received)
);
COMMENT ON COLUMN inventory.stock.received IS 'All that ever came in';

CREATE TABLE inventory.ledger (
    id        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id  bigint      NOT NULL,
    kind      text        NOT NULL,
    item      text        NOT NULL,
    quantity  bigint      NOT NULL,
    cause     text,
    at        timestamptz NOT NULL DEFAULT now(),
    CHECK ((kind = 'reserve' AND quantity < 0) OR (kind = 'release' AND quantity >= 0))
);
CREATE INDEX ledger_order ON inventory.ledger (order_id);
COMMENT ON COLUMN inventory.ledger.quantity IS 'Taken from the stock: negative; put back: positive, 0: there was nothing to put back';
COMMENT ON COLUMN inventory.ledger.cause IS 'Id of the event that asked for it';
