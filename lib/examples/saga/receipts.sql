-- receipts.sql - the schema of the service of receipts: a ledger that is only added to.

CREATE SCHEMA receipts;

CREATE TABLE receipts.ledger (
    id        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id  bigint      NOT NULL,
    kind      text        NOT NULL,
    amount    bigint      NOT NULL,
    cause     text,
    at        timestamptz NOT NULL DEFAULT now(),
    CHECK ((kind = 'receipt' AND amount > 0) OR (kind = 'cancel' AND amount = 0))
);
CREATE INDEX ledger_order ON receipts.ledger (order_id);
COMMENT ON COLUMN receipts.ledger.cause IS 'Id of the event that asked for it';
