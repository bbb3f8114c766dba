-- Collaboration as an agreement on record: people of one department may use a tag group on another's customers.
-- Departments are WeCom's and may vanish, so nothing refers to them: an agreement with one that is gone joins nobody.

create table agreement (
    corp_id            text not null references corp,
    id                 uuid not null,
    department_id      bigint not null,
    partner_department bigint not null,
    group_id           uuid not null,
    note               text not null default '',
    made_by            text not null,
    approval_id        uuid,
    since              timestamptz not null,
    until              timestamptz,
    created_at         timestamptz not null default now(),
    ended_at           timestamptz,
    ended_by           text,
    primary key (corp_id, id),
    foreign key (corp_id, group_id) references tag_group (corp_id, id),
    foreign key (corp_id, made_by) references employee (corp_id, userid),
    foreign key (corp_id, ended_by) references employee (corp_id, userid),
    foreign key (corp_id, approval_id) references approval (corp_id, id),
    check (until > since),
    check ((ended_at is null) = (ended_by is null))
);
create index agreement_open on agreement (corp_id, group_id) where ended_at is null;

create function guard_agreement() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        new.created_at := now();
        if new.since < new.created_at then
            new.since := new.created_at;
        end if;
        if new.ended_at is not null or new.until <= new.since then
            raise exception 'an agreement never begins in the past' using errcode = 'TW091';
        end if;
        return new;
    end if;
    if old.ended_at is not null
       or (new.corp_id, new.id, new.department_id, new.partner_department, new.group_id, new.note, new.made_by,
           new.approval_id, new.since, new.until, new.created_at)
          is distinct from
          (old.corp_id, old.id, old.department_id, old.partner_department, old.group_id, old.note, old.made_by,
           old.approval_id, old.since, old.until, old.created_at) then
        raise exception 'an agreement is ended, never rewritten' using errcode = 'TW091';
    end if;
    return new;
end $$;
create trigger agreement_guard before insert or update on agreement for each row execute function guard_agreement();
create trigger agreement_kept before delete on agreement for each row execute function refuse_change();
create trigger agreement_epochal after insert or update or delete on agreement
    for each statement execute function mark_epochal();
create constraint trigger agreement_needs_line after insert or update or delete on agreement
    deferrable initially deferred for each row execute function require_line();
