-- What WeCom reports is worked on, and where WeCom and our decision disagree is known, shown and mended.

-- What became of a stored callback. Its envelope is emptied when it has been worked on; one that does not open is kept
-- for a week. The row itself stays for a day, so that a repeat is known as one.
alter table wecom_callback
    add column event   text,
    add column outcome text check (outcome in ('noted', 'ignored', 'unreadable'));
create index wecom_callback_waiting on wecom_callback (corp_id, id) where processed_at is null;

-- What must be read again in WeCom. An event never says how things are; it says where to look.
create table wecom_refresh (
    corp_id      text not null references corp,
    kind         text not null check (kind in ('library', 'departments', 'organisation', 'employee', 'contact')),
    key          text not null,
    version      bigint not null default 1,
    events       jsonb not null default '[]',
    first_at     timestamptz not null default now(),
    due_at       timestamptz not null default now(),
    leased_until timestamptz,
    attempts     integer not null default 0,
    given_up     text,
    primary key (corp_id, kind, key)
);
create index wecom_refresh_due on wecom_refresh (corp_id, due_at) where given_up is null;

-- Accounts that were given another userid inside WeCom. The account keeps the userid it had here first, and with it its
-- roles, follows, requests and signatures: it can never become a second person.
alter table employee add column wecom_userid text;
create unique index employee_wecom_userid on employee (corp_id, lower(wecom_userid)) where wecom_userid is not null;
create table userid_rename (
    corp_id    text not null references corp,
    old_userid text not null,
    new_userid text not null,
    sent_at    timestamptz not null,
    seen_at    timestamptz not null default now(),
    applied_at timestamptz,
    primary key (corp_id, old_userid, new_userid, sent_at)
);

-- The customer deleted the employee; WeCom keeps the employee's side (92130, del_follow_user).
alter table follow add column customer_left_at timestamptz;

-- Personal and strategy tags of a follow: shown, never decided on, never written.
create table follow_label (
    corp_id    text not null references corp,
    follow_id  uuid not null,
    kind       text not null check (kind in ('personal', 'strategy')),
    wecom_id   text not null default '',
    group_name text not null default '',
    name       text not null default '',
    seen_at    timestamptz not null default now(),
    primary key (corp_id, follow_id, kind, wecom_id, group_name, name),
    foreign key (corp_id, follow_id) references follow (corp_id, id)
);
create index follow_label_names on follow_label (corp_id, wecom_id) where name <> '';

-- A tag that WeCom renamed or deleted and that is not ours to edit: our record stays, nothing more of it is sent.
alter table tag
    add column wecom_name       text,
    add column wecom_missing_at timestamptz;

-- When a follow was last seen in a reading; what a complete reading of its owner did not show has ended.
alter table follow_sync add column seen_at timestamptz;

-- What a draft would have become of such edits; null: as in its base.
alter table policy_draft add column drift jsonb;

create table drift_case (
    corp_id      text not null references corp,
    id           uuid not null,
    follow_id    uuid not null,
    tag_id       uuid not null,
    kind         text not null check (kind in ('added_in_wecom', 'removed_in_wecom')),
    state        text not null default 'open'
                 check (state in ('open', 'reported', 'put_back', 'taken_in', 'asked', 'gone')),
    reason       text,
    run_id       uuid,
    approval_id  uuid,
    first_seen_at timestamptz not null default now(),
    last_seen_at timestamptz not null default now(),
    done_at      timestamptz,
    primary key (corp_id, id),
    foreign key (corp_id, follow_id) references follow (corp_id, id),
    foreign key (corp_id, tag_id) references tag (corp_id, id)
);
create unique index drift_case_one on drift_case (corp_id, follow_id, tag_id) where done_at is null;
create index drift_case_open on drift_case (corp_id, follow_id) where state = 'open';
create index drift_case_put_back on drift_case (corp_id, done_at) where state in ('put_back', 'asked');

-- The brake: it stops and asks, and is released by a person for what waited then.
create table drift_guard (
    corp_id        text primary key references corp,
    stopped_at     timestamptz,
    reason         text,
    waiting        integer not null default 0,
    released_at    timestamptz,
    released_by    text,
    released_until timestamptz,
    allowance      integer not null default 0
);
-- A worker pulls the brake; a person who lets go of it leaves a line.
create trigger drift_guard_governed after update of released_at, released_by on drift_guard
    for each statement execute function mark_governed();
create constraint trigger drift_guard_needs_line after update of released_at, released_by on drift_guard
    deferrable initially deferred for each row execute function require_line();

-- Where the nightly reading of customers stands: by userid, a slice a night.
create table reconcile_pass (
    corp_id       text primary key references corp,
    after_userid  text not null default '',
    began_at      timestamptz,
    finished_at   timestamptz,
    slice_on      date,
    slice_calls   integer not null default 0,
    pass_calls    integer not null default 0,
    pass_nights   integer not null default 0,
    last_calls    integer,
    last_nights   integer
);

-- People are told of more than approvals.
alter table notification alter column approval_id drop not null;
alter table notification add column if not exists subject text;
