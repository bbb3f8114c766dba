-- Drafts of the matrix: what would differ from the revision they were made on. Nothing is decided by a draft.

create table policy_draft (
    corp_id      text not null references corp,
    id           uuid not null,
    base         integer not null,
    note         text not null default '',
    -- cells that differ: department, group, action, effect, and how it would be (or `unset`)
    cells        jsonb not null default '[]',
    -- null: as in the base
    capabilities jsonb,
    approvals    jsonb,
    -- whoever had a hand in it never signs it
    editors      text[] not null,
    state        text not null default 'open' check (state in ('open', 'held', 'published', 'discarded')),
    approval_id  uuid,
    revision     integer,
    version      integer not null default 1,
    created_at   timestamptz not null default now(),
    updated_at   timestamptz not null default now(),
    primary key (corp_id, id),
    foreign key (corp_id, base) references policy_revision (corp_id, revision),
    foreign key (corp_id, revision) references policy_revision (corp_id, revision),
    foreign key (corp_id, approval_id) references approval (corp_id, id),
    check (cardinality(editors) > 0),
    check ((state = 'held') <= (approval_id is not null)),
    check ((state = 'published') = (revision is not null))
);
create index policy_draft_held on policy_draft (corp_id, approval_id) where state = 'held';

create function guard_draft() returns trigger language plpgsql as $$
begin
    if old.state in ('published', 'discarded') then
        raise exception 'a draft that ended never changes' using errcode = 'TW084';
    end if;
    if (new.corp_id, new.id, new.created_at) is distinct from (old.corp_id, old.id, old.created_at)
       or not new.editors @> old.editors then
        raise exception 'whoever had a hand in a draft stays named in it' using errcode = 'TW084';
    end if;
    return new;
end $$;
create trigger policy_draft_guard before update on policy_draft for each row execute function guard_draft();
create trigger policy_draft_kept before delete on policy_draft for each row execute function refuse_change();
create trigger policy_draft_governed after insert or update on policy_draft
    for each statement execute function mark_governed();
create constraint trigger policy_draft_needs_line after insert or update or delete on policy_draft
    deferrable initially deferred for each row execute function require_line();

-- ---------------------------------------------------------------------------------------------------------------------
-- A revision is written in one statement: the guard looks once at what came, not once a row.

create function guard_grants() returns trigger language plpgsql
    security definer set search_path = pg_catalog, public, pg_temp as $$
begin
    if exists (select 1 from (select distinct f.corp_id, f.revision from fresh f) n
               where not exists (select 1 from policy_revision r where r.corp_id = n.corp_id and r.revision = n.revision
                                 and r.born_xid = pg_current_xact_id_if_assigned())) then
        raise exception 'a published revision never grows' using errcode = 'TW083';
    end if;
    return null;
end $$;
drop trigger policy_grant_guard on policy_grant;
create trigger policy_grant_guard after insert on policy_grant referencing new table as fresh
    for each statement execute function guard_grants();
drop function guard_grant();
