-- payments.sql - the schema of the service of payments: a ledger that is only added to.
--
-- No constraint stands in the way of a second charge of an order: that it does not happen is the work of
-- the inbox, and books.sql looks for it.

CREATE SCHEMA payments;

CREATE TABLE payments.ledger (
    id        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id  bigint      NOT NULL,
    kind      text        NOT NULL,
    amount    bigint      NOT NULL,
    cause     text,
    at        timestamptz NOT NULL DEFAULT now(),
    CHECK ((kind = 'charge' AND amount > 0) OR (kind = 'refund' AND amount <= 0))
);
CREATE INDEX ledger_order ON payments.ledger (order_id);
COMMENT ON COLUMN payments.ledger.amount IS 'Cents; what was given back is negative, 0: there was nothing to give back';
COMMENT ON COLUMN payments.ledger.cause IS 'Id of the event that asked for it';
