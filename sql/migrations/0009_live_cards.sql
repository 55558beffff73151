-- Cards of calls that go on, several cards in one message, and what became of messages that must go.
ALTER TABLE cards
    ADD COLUMN kind text NOT NULL DEFAULT 'call',
    ADD COLUMN brief text NOT NULL DEFAULT '',
    ADD COLUMN anew boolean NOT NULL DEFAULT false,
    ADD COLUMN held_until timestamptz,
    ADD COLUMN changed_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN sent_phase text,
    ADD COLUMN sent_at timestamptz,
    ADD COLUMN shared boolean NOT NULL DEFAULT false,
    ADD COLUMN sending_by text,
    ADD COLUMN sending_text text,
    ADD COLUMN doubtful_text text,
    ADD COLUMN doubtful_since timestamptz,
    ADD CONSTRAINT cards_kind_check CHECK (kind IN ('call', 'board', 'digest'));

UPDATE cards SET sent_phase = phase, sent_at = updated_at WHERE sent_revision > 0;

CREATE INDEX cards_live_idx ON cards (enterprise_number, chat_id) WHERE phase <> 'hangup' AND text <> '';
CREATE INDEX cards_live_message_idx ON cards (enterprise_number, chat_id)
    WHERE message_id IS NOT NULL AND kind = 'call' AND sent_phase <> 'hangup';
CREATE INDEX cards_message_idx ON cards (chat_id, message_id) WHERE message_id IS NOT NULL;
CREATE INDEX cards_doubtful_idx ON cards (enterprise_number, chat_id) WHERE doubtful_text IS NOT NULL;

CREATE TABLE card_leftovers (
    enterprise_number text NOT NULL,
    chat_id           bigint NOT NULL,
    message_id        bigint NOT NULL,
    created_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (enterprise_number, chat_id, message_id)
);

CREATE TABLE telegram_chats (
    enterprise_number text NOT NULL,
    chat_id           bigint NOT NULL,
    moved_to          bigint,
    closed_at         timestamptz,
    closed_why        text,
    PRIMARY KEY (enterprise_number, chat_id)
);
