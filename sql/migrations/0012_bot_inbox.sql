-- What a webhook of Telegram brought: kept before Telegram hears 200, taken before it is handled.
CREATE TABLE bot_inbox (
    bot_id      bigint NOT NULL,
    update_id   bigint NOT NULL,
    content     text,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (bot_id, update_id)
);

CREATE INDEX bot_inbox_kept_idx ON bot_inbox (bot_id, update_id) WHERE content IS NOT NULL;

-- Recordings in the messages of final cards.
ALTER TABLE cards
    ADD COLUMN sound text NOT NULL DEFAULT '',
    ADD COLUMN sent_sound text NOT NULL DEFAULT '',
    ADD COLUMN sound_at timestamptz,
    ADD COLUMN sound_gave_up text;

CREATE INDEX cards_sound_idx ON cards (enterprise_number, id)
    WHERE sound <> '' AND sound <> sent_sound AND sound_gave_up IS NULL;
