-- Customers and who follows them, the tag library, and who carries which tag.

create table customer (
    corp_id         text not null references corp,
    external_userid text not null,
    name            text not null,
    type            smallint not null default 1,
    corp_name       text,
    updated_at      timestamptz not null default now(),
    primary key (corp_id, external_userid)
);

create table follow (
    corp_id         text not null references corp,
    id              uuid not null,
    userid          text not null,
    external_userid text not null,
    since           timestamptz not null,
    ended_at        timestamptz,
    ended_reason    text,
    primary key (id),
    unique (corp_id, id),
    foreign key (corp_id, external_userid) references customer
);
create unique index follow_open on follow (corp_id, userid, external_userid) where ended_at is null;
create index follow_of_customer on follow (corp_id, external_userid);

create table tag_group (
    corp_id       text not null references corp,
    id            uuid not null,
    name          text not null,
    kind          text not null default 'unclassified' check (kind in ('temporary', 'standard', 'value', 'unclassified')),
    choice        text not null default 'multiple' check (choice in ('single', 'multiple')),
    description   text not null default '',
    sort          bigint not null default 0,
    wecom_id      text,
    name_marked   boolean not null default false,
    version       bigint not null default 1,
    created_at    timestamptz not null default now(),
    deleted_at    timestamptz,
    primary key (id),
    unique (corp_id, id)
);
create unique index tag_group_name_open on tag_group (corp_id, name) where deleted_at is null;
create unique index tag_group_wecom on tag_group (corp_id, wecom_id) where deleted_at is null;

create table tag (
    corp_id         text not null references corp,
    id              uuid not null,
    group_id        uuid not null,
    name            text not null,
    parent_id       uuid,
    meaning         text not null default '',
    service_process text not null default '',
    ends_on         date,
    sort            bigint not null default 0,
    wecom_id        text,
    made_by_us      boolean not null default false,
    name_marked     boolean not null default false,
    version         bigint not null default 1,
    created_at      timestamptz not null default now(),
    retired_at      timestamptz,
    deleted_at      timestamptz,
    primary key (id),
    unique (corp_id, id),
    foreign key (corp_id, group_id) references tag_group (corp_id, id),
    foreign key (corp_id, parent_id) references tag (corp_id, id)
);
create unique index tag_name_open on tag (corp_id, group_id, name) where deleted_at is null;
create unique index tag_wecom on tag (corp_id, wecom_id) where deleted_at is null;

create table assignment (
    corp_id         text not null references corp,
    id              uuid not null,
    follow_id       uuid not null,
    tag_id          uuid not null,
    source          text not null check (source in ('manual', 'approval', 'batch', 'rule', 'import', 'wecom', 'transfer')),
    actor           text not null,
    approval_id     uuid,
    carried_from    uuid,
    since           timestamptz not null,
    until           timestamptz,
    ended_at        timestamptz,
    ended_by        text,
    ended_source    text,
    ended_approval_id uuid,
    primary key (id),
    unique (corp_id, id),
    foreign key (corp_id, follow_id) references follow (corp_id, id),
    foreign key (corp_id, tag_id) references tag (corp_id, id),
    foreign key (corp_id, carried_from) references assignment (corp_id, id)
);
create unique index assignment_open on assignment (corp_id, follow_id, tag_id) where ended_at is null;
create unique index assignment_carried_once on assignment (carried_from) where carried_from is not null;
create index assignment_of_tag on assignment (corp_id, tag_id) where ended_at is null;
create index assignment_due on assignment (until) where ended_at is null and until is not null;
create index assignment_history on assignment (corp_id, follow_id);

create trigger tag_group_epochal after insert or update of name, kind, choice, deleted_at or delete on tag_group
    for each statement execute function mark_epochal();
create trigger tag_governed after insert or delete or update of
    group_id, name, parent_id, meaning, service_process, ends_on, retired_at, deleted_at on tag
    for each statement execute function mark_governed();
create trigger assignment_governed after insert or update or delete on assignment
    for each statement execute function mark_governed();
create trigger follow_governed after insert or update or delete on follow
    for each statement execute function mark_governed();
