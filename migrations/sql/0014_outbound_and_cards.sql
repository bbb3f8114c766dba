-- Sending can be paused per corp: what changes WeCom's tags waits, reads and cards go on.

create table wecom_pause (
    corp_id text primary key references corp,
    paused  boolean not null,
    reason  text not null,
    actor   text not null,
    since   timestamptz not null
);
create trigger wecom_pause_governed after insert or update on wecom_pause
    for each statement execute function mark_governed();
create constraint trigger wecom_pause_needs_line after insert or update or delete on wecom_pause
    deferrable initially deferred for each row execute function require_line();

-- ---------------------------------------------------------------------------------------------------------------------
-- Fairness: a dirty follow stands in the lane of its owner's department, or of its batch; lanes take turns.

alter table follow_sync add column lane text not null default '';
alter table follow_sync add column given_up_code integer;
create index follow_sync_lane on follow_sync (corp_id, class, lane, settle_at) where dirty and given_up is null;
create index follow_sync_given_up on follow_sync (corp_id, given_up_code) where dirty and given_up is not null;

create table sync_lane (
    corp_id   text not null references corp,
    class     text not null,
    lane      text not null,
    served_at timestamptz not null,
    primary key (corp_id, class, lane)
);

update follow_sync set given_up_code = substring(given_up from '^(-?[0-9]{1,7}) ')::integer where given_up is not null;

-- ---------------------------------------------------------------------------------------------------------------------
-- The library's way out: groups have names and places too, and are ours to edit or are not.

alter table library_sync add column given_up_code integer;
alter table library_sync add column dirty_at timestamptz;
update library_sync set given_up_code = substring(given_up from '^(-?[0-9]{1,7}) ')::integer where given_up is not null;

alter table tag_group add column made_by_us boolean not null default false;

create table library_group_sync (
    corp_id       text not null references corp,
    group_id      uuid not null,
    dirty         boolean not null default true,
    version       bigint not null default 1,
    dirty_at      timestamptz,
    leased_until  timestamptz,
    attempts      integer not null default 0,
    next_try_at   timestamptz,
    given_up      text,
    given_up_code integer,
    primary key (group_id),
    foreign key (corp_id, group_id) references tag_group (corp_id, id)
);
create index library_group_sync_due on library_group_sync (corp_id) where dirty;

-- ---------------------------------------------------------------------------------------------------------------------
-- Cards to signers. A request is dirty until the cards of its step are those of the people who may sign it now.

create table card_draw (
    corp_id     text not null references corp,
    approval_id uuid not null,
    dirty       boolean not null default true,
    version     bigint not null default 1,
    epoch       bigint not null default 0,
    primary key (approval_id),
    foreign key (corp_id, approval_id) references approval (corp_id, id)
);
create index card_draw_due on card_draw (corp_id) where dirty;

create table approval_card (
    corp_id       text not null references corp,
    id            uuid not null,
    approval_id   uuid not null,
    round         integer not null,
    level         smallint not null check (level in (1, 2)),
    userid        text not null,
    content_hash  text not null,
    -- the request's version as the card shows it: what a click signs
    version       bigint not null,
    task_id       text not null check (length(task_id) <= 128),
    earlier_tasks text[] not null default '{}',
    -- a call about it left and nobody knows yet what came of it
    begun         boolean not null default false,
    state         text not null default 'waiting'
                  check (state in ('waiting', 'sent', 'closing', 'closed', 'left_open', 'given_up')),
    outcome       text,
    -- sealed; good once, for 72 hours
    response_code bytea,
    code_until    timestamptz,
    leased_until  timestamptz,
    attempts      integer not null default 0,
    next_try_at   timestamptz,
    given_up      text,
    given_up_code integer,
    created_at    timestamptz not null default now(),
    sent_at       timestamptz,
    closed_at     timestamptz,
    primary key (id),
    unique (corp_id, task_id),
    unique (corp_id, approval_id, round, level, userid),
    foreign key (corp_id, approval_id) references approval (corp_id, id)
);
create index approval_card_due on approval_card (corp_id, created_at) where state in ('waiting', 'closing');
create index approval_card_given_up on approval_card (corp_id) where state = 'given_up';
create index approval_card_request on approval_card (corp_id, approval_id);
create index approval_card_earlier on approval_card using gin (earlier_tasks) where earlier_tasks <> '{}';

-- A click as WeCom told it, until it was looked at; written in the transaction that opened its callback, whose id it has.
create table card_click (
    corp_id       text not null references corp,
    id            uuid not null,
    userid        text not null,
    task_id       text not null,
    key           text not null,
    agent_id      text not null,
    -- sealed; good once, for 72 hours
    response_code bytea,
    clicked_at    timestamptz not null default now(),
    leased_until  timestamptz,
    handled_at    timestamptz,
    outcome       text,
    primary key (id)
);
create index card_click_waiting on card_click (corp_id, id) where handled_at is null;

-- ---------------------------------------------------------------------------------------------------------------------
-- Whether WeCom still takes each app's credential, looked at once a month; admins are told without a request behind it.

create table credential_check (
    corp_id    text not null references corp,
    app        text not null,
    checked_at timestamptz not null,
    ok         boolean not null,
    code       integer,
    problem_zh text,
    problem_en text,
    primary key (corp_id, app)
);

alter table notification alter column approval_id drop not null;
alter table notification add column if not exists subject text;
