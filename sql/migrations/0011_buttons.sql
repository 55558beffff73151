-- Buttons under cards, and the missed calls that somebody has to call back.
ALTER TABLE cards
    ADD COLUMN token uuid NOT NULL DEFAULT gen_random_uuid(),
    ADD COLUMN buttons text NOT NULL DEFAULT '',
    DROP CONSTRAINT cards_kind_check,
    ADD CONSTRAINT cards_kind_check CHECK (kind IN ('call', 'board', 'digest', 'reminder')),
    ADD CONSTRAINT cards_token_key UNIQUE (token);

CREATE TABLE call_backs (
    enterprise_number text NOT NULL,
    linkedid          text COLLATE "C" NOT NULL,
    phone_e164        text NOT NULL,
    began_at          timestamptz NOT NULL,
    ended_at          timestamptz NOT NULL,
    taken_by          text,
    taken_name        text NOT NULL DEFAULT '',
    taken_at          timestamptz,
    reached_in        text COLLATE "C",
    reached_by        text,
    reached_at        timestamptz,
    called_again      boolean NOT NULL DEFAULT false,
    stale             boolean NOT NULL DEFAULT false,
    PRIMARY KEY (enterprise_number, linkedid)
);

CREATE INDEX call_backs_customer_idx ON call_backs (enterprise_number, phone_e164, ended_at);
CREATE INDEX call_backs_stale_idx ON call_backs (enterprise_number) WHERE stale;
