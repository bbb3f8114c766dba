-- The organisation as mirrored from WeCom, roles, what issuers of tokens may do, and the published policy.

create table issuer_right (
    corp_id  text not null references corp,
    issuer   text not null,
    may_sign boolean not null default false,
    since    timestamptz not null default now(),
    primary key (corp_id, issuer)
);

create table department (
    corp_id   text not null references corp,
    id        bigint not null,
    name      text not null,
    parent_id bigint not null,
    sort      bigint not null default 0,
    primary key (corp_id, id)
);

create table employee (
    corp_id         text not null references corp,
    userid          text not null,
    name            text not null,
    person          text not null,
    status          text not null default 'active' check (status in ('active', 'disabled', 'inactive', 'left')),
    main_department bigint,
    updated_at      timestamptz not null default now(),
    primary key (corp_id, userid)
);
-- WeCom compares user ids without case (90196): two rows that differ in case only would be two accounts of one person.
create unique index employee_folded on employee (corp_id, lower(userid));

create table employee_department (
    corp_id       text not null references corp,
    userid        text not null,
    department_id bigint not null,
    is_leader     boolean not null default false,
    primary key (corp_id, userid, department_id),
    foreign key (corp_id, userid) references employee on delete cascade
);
create index employee_department_members on employee_department (corp_id, department_id);

create table employee_role (
    corp_id  text not null references corp,
    userid   text not null,
    role     text not null check (role in ('staff', 'manager', 'supervisor', 'admin', 'subadmin', 'auditor', 'service')),
    modules  text[] not null default '{}',
    since    timestamptz not null default now(),
    given_by text not null,
    primary key (corp_id, userid, role),
    foreign key (corp_id, userid) references employee on delete cascade
);

create table policy_revision (
    corp_id      text not null references corp,
    revision     integer not null,
    content      jsonb not null,
    content_hash text not null,
    note         text not null default '',
    published_by text not null,
    published_at timestamptz not null default now(),
    born_xid     xid8 not null default pg_current_xact_id(),
    primary key (corp_id, revision)
);

create table policy_grant (
    corp_id       text not null references corp,
    revision      integer not null,
    id            text not null,
    department_id bigint not null,
    group_id      uuid not null,
    action        text not null check (action in ('view', 'use', 'manage')),
    effect        text not null default 'allow' check (effect in ('allow', 'deny')),
    inherit       boolean not null default true,
    reach         text check (reach in ('own', 'subordinate', 'collaborating', 'corp')),
    primary key (corp_id, revision, id),
    foreign key (corp_id, revision) references policy_revision
);

create trigger policy_revision_frozen before update or delete on policy_revision
    for each row execute function refuse_change();
create trigger policy_grant_frozen before update or delete on policy_grant
    for each row execute function refuse_change();

create function date_revision() returns trigger language plpgsql as $$
begin
    new.born_xid := pg_current_xact_id();
    return new;
end $$;
create trigger policy_revision_dated before insert on policy_revision
    for each row execute function date_revision();

create function guard_grant() returns trigger language plpgsql
    security definer set search_path = pg_catalog, public, pg_temp as $$
begin
    if not exists (select 1 from policy_revision r where r.corp_id = new.corp_id and r.revision = new.revision
                   and r.born_xid = pg_current_xact_id_if_assigned()) then
        raise exception 'a published revision never grows' using errcode = 'TW083';
    end if;
    return new;
end $$;
create trigger policy_grant_guard before insert on policy_grant
    for each row execute function guard_grant();

create trigger issuer_right_epochal after insert or update or delete on issuer_right
    for each statement execute function mark_epochal();
create trigger department_epochal after insert or update or delete on department
    for each statement execute function mark_epochal();
create trigger employee_epochal after insert or update or delete on employee
    for each statement execute function mark_epochal();
create trigger employee_department_epochal after insert or update or delete on employee_department
    for each statement execute function mark_epochal();
create trigger employee_role_epochal after insert or update or delete on employee_role
    for each statement execute function mark_epochal();
create trigger policy_revision_epochal after insert on policy_revision
    for each statement execute function mark_epochal();
