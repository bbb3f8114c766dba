-- Everything that leaves for WeCom or arrives from it.

create table wecom_token (
    corp_id      text not null references corp,
    app          text not null,
    token_sealed bytea not null,
    generation   bigint not null default 1,
    expires_at   timestamptz not null,
    primary key (corp_id, app)
);

-- One row a slot: free_at is 60 s after the answer of the call that used it last (design 7, budget).
create table budget_slot (
    corp_id    text not null references corp,
    n          integer not null,
    free_at    timestamptz not null default '-infinity',
    claimed_at timestamptz,
    claimed_by uuid,
    primary key (corp_id, n)
) with (fillfactor = 50);

create table budget_pace (
    corp_id      text primary key references corp,
    next_bulk_at timestamptz not null default '-infinity'
);

create table wecom_call (
    corp_id     text not null references corp,
    id          uuid not null,
    app         text not null,
    api         text not null,
    class       text not null check (class in ('interactive', 'bulk', 'read')),
    follow_id   uuid,
    subject     text,
    add_tags    text[] not null default '{}',
    remove_tags text[] not null default '{}',
    attempt     integer not null default 1,
    state       text not null check (state in ('sent', 'accepted', 'refused', 'given_up')),
    code        integer,
    message     text,
    sent_at     timestamptz not null,
    answered_at timestamptz,
    next_try_at timestamptz,
    primary key (id)
);
create index wecom_call_recent on wecom_call (corp_id, id desc);
create index wecom_call_follow on wecom_call (corp_id, follow_id, id desc);

-- The envelope as it came, still encrypted: what is inside may name people.
create table wecom_callback (
    corp_id      text not null references corp,
    id           uuid not null,
    app          text not null,
    signature    text not null,
    sent_at      timestamptz not null,
    nonce        text not null,
    envelope     bytea not null,
    received_at  timestamptz not null default now(),
    processed_at timestamptz,
    primary key (id)
);
create unique index wecom_callback_once on wecom_callback (corp_id, app, signature);

-- Desired and observed state of a follow in WeCom; a dirty row is drawn from, never replayed.
create table follow_sync (
    corp_id        text not null references corp,
    follow_id      uuid not null,
    observed       text[] not null default '{}',
    -- tags of a call whose outcome is not known: named again in the next one, whichever way they are wanted
    uncertain      text[] not null default '{}',
    dirty          boolean not null default false,
    class          text not null default 'interactive' check (class in ('interactive', 'bulk')),
    version        bigint not null default 1,
    first_dirty_at timestamptz,
    settle_at      timestamptz,
    leased_until   timestamptz,
    attempts       integer not null default 0,
    next_try_at    timestamptz,
    given_up       text,
    primary key (follow_id),
    foreign key (corp_id, follow_id) references follow (corp_id, id)
);
create index follow_sync_due on follow_sync (corp_id, class, settle_at) where dirty;

create table library_sync (
    corp_id      text not null references corp,
    tag_id       uuid not null,
    dirty        boolean not null default true,
    version      bigint not null default 1,
    leased_until timestamptz,
    attempts     integer not null default 0,
    next_try_at  timestamptz,
    given_up     text,
    primary key (tag_id),
    foreign key (corp_id, tag_id) references tag (corp_id, id)
);
create index library_sync_due on library_sync (corp_id) where dirty;

create table sync_run (
    corp_id     text not null references corp,
    id          uuid not null,
    kind        text not null check (kind in ('org', 'catalog', 'customers', 'drift')),
    state       text not null default 'queued' check (state in ('queued', 'running', 'done', 'failed')),
    cursor      jsonb not null default '{}',
    done        bigint not null default 0,
    total       bigint,
    result      jsonb not null default '{}',
    problem     text,
    started_by  text not null,
    created_at  timestamptz not null default now(),
    started_at  timestamptz,
    finished_at timestamptz,
    heartbeat_at timestamptz,
    primary key (id)
);
create unique index sync_run_one on sync_run (corp_id, kind) where state in ('queued', 'running');

create table process_heartbeat (
    id      uuid primary key,
    role    text not null,
    host    text not null,
    pid     integer not null,
    version text not null,
    started_at timestamptz not null default now(),
    seen_at timestamptz not null default now()
);
