-- What a webhook of Telegram brought: kept before Telegram hears 200, taken before it is handled.
CREATE TABLE bot_inbox (
    bot_id      bigint NOT NULL,
    update_id   bigint NOT NULL,
    content     text,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (bot_id, update_id)
);

CREATE INDEX bot_inbox_kept_idx ON bot_inbox (bot_id, update_id) WHERE content IS NOT NULL;
