-- Approvals complete: delegation, escalation, notifications; recovery by the operator; no commit without its line.

alter table approval
    add column escalations integer not null default 0,
    add column level_since timestamptz not null default now(),
    add column reminded_at timestamptz,
    add column resubmitted_from uuid;
create index approval_about on approval (corp_id, about_customer, id) where about_customer is not null;

-- ---------------------------------------------------------------------------------------------------------------------
-- Who signs while somebody is away: one hop, set before the absence, both names kept.

create table delegation (
    corp_id     text not null references corp,
    id          uuid not null,
    userid      text not null,
    delegate    text not null,
    starts_at   timestamptz not null,
    ends_at     timestamptz not null,
    reason      text not null default '',
    approval_id uuid,
    created_at  timestamptz not null default now(),
    ended_at    timestamptz,
    primary key (corp_id, id),
    foreign key (corp_id, userid) references employee (corp_id, userid),
    foreign key (corp_id, delegate) references employee (corp_id, userid),
    foreign key (corp_id, approval_id) references approval (corp_id, id),
    check (ends_at > starts_at),
    check (lower(userid) <> lower(delegate))
);
create index delegation_open on delegation (corp_id, delegate) where ended_at is null;

create function guard_delegation() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        new.created_at := now();
        if new.starts_at < new.created_at then
            new.starts_at := new.created_at;
        end if;
        if new.ended_at is not null or new.ends_at <= new.starts_at then
            raise exception 'a delegation is set before the absence' using errcode = 'TW090';
        end if;
        return new;
    end if;
    if old.ended_at is not null
       or (new.corp_id, new.id, new.userid, new.delegate, new.starts_at, new.ends_at, new.reason, new.approval_id, new.created_at)
          is distinct from
          (old.corp_id, old.id, old.userid, old.delegate, old.starts_at, old.ends_at, old.reason, old.approval_id, old.created_at) then
        raise exception 'a delegation is ended, never rewritten' using errcode = 'TW090';
    end if;
    return new;
end $$;
create trigger delegation_guard before insert or update on delegation for each row execute function guard_delegation();
create trigger delegation_kept before delete on delegation for each row execute function refuse_change();
create trigger delegation_epochal after insert or update on delegation
    for each statement execute function mark_epochal();

-- ---------------------------------------------------------------------------------------------------------------------
-- What people are told: asked, reminded, escalated, and every outcome.

create table notification (
    corp_id     text not null references corp,
    id          uuid not null,
    userid      text not null,
    event       text not null,
    approval_id uuid not null,
    reason      text,
    created_at  timestamptz not null,
    read_at     timestamptz,
    primary key (corp_id, id),
    foreign key (corp_id, approval_id) references approval (corp_id, id)
);
create index notification_of on notification (corp_id, userid, id);
create index notification_unread on notification (corp_id, userid, id) where read_at is null;

-- ---------------------------------------------------------------------------------------------------------------------
-- The approval's guard, with rounds that begin at level 1 and escalations that only grow.

create or replace function guard_approval() returns trigger language plpgsql
    security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    signed boolean;
    complete boolean;
begin
    if tg_op = 'INSERT' then
        if new.state not in ('pending_level1', 'pending_level2') or new.round <> 1 or new.applied_xid is not null
           or new.escalations <> 0 then
            raise exception 'an approval begins pending' using errcode = 'TW020';
        end if;
        if not exists (select 1 from employee e where e.corp_id = new.corp_id and e.userid = new.requester
                       and e.person = new.requester_person and e.status = 'active') then
            raise exception 'a request names the person who asks' using errcode = 'TW020';
        end if;
        return new;
    end if;
    if old.state not in ('pending_level1', 'pending_level2') then
        raise exception 'a closed approval never changes' using errcode = 'TW021';
    end if;
    if (new.corp_id, new.id, new.kind, new.requester, new.requester_person, new.created_at, new.resubmitted_from)
       is distinct from
       (old.corp_id, old.id, old.kind, old.requester, old.requester_person, old.created_at, old.resubmitted_from) then
        raise exception 'what an approval is and who asked never changes' using errcode = 'TW022';
    end if;
    if not new.barred @> old.barred then
        raise exception 'who is barred stays barred' using errcode = 'TW022';
    end if;
    if new.escalations < old.escalations then
        raise exception 'an escalation is never taken back' using errcode = 'TW022';
    end if;
    select exists (select 1 from approval_signature s where s.approval_id = old.id and s.round = old.round) into signed;
    if signed and new.round = old.round
       and (new.payload, new.fingerprint, new.content_hash, new.about_userid, new.about_customer, new.reason, new.act)
           is distinct from (old.payload, old.fingerprint, old.content_hash, old.about_userid, old.about_customer, old.reason, old.act) then
        raise exception 'content that carries a signature never changes' using errcode = 'TW023';
    end if;
    if new.round not in (old.round, old.round + 1) then
        raise exception 'rounds follow one another' using errcode = 'TW023';
    end if;
    if new.round <> old.round and (new.state <> 'pending_level1' or cardinality(new.barred) = 0) then
        raise exception 'an edited request begins again at level 1, its editor barred' using errcode = 'TW023';
    end if;
    if new.state = 'applied' then
        select count(*) = 2 and count(distinct signer_person) = 2 and count(distinct lower(signer)) = 2
          from approval_signature s
         where s.approval_id = new.id and s.round = new.round and s.verdict = 'approve'
           and s.content_hash = new.content_hash and s.fingerprint = new.fingerprint
          into complete;
        if not complete or new.round <> old.round then
            raise exception 'an approval is applied by two signatures on this content' using errcode = 'TW024';
        end if;
        new.applied_xid := pg_current_xact_id();
    elsif new.applied_xid is not null then
        raise exception 'an approval is applied by two signatures on this content' using errcode = 'TW024';
    end if;
    return new;
end $$;

-- Whether a delegation of `away` to `acting` is in force now.
create function stands_in(in_corp text, away text, acting text) returns boolean language sql stable
    security definer set search_path = pg_catalog, public, pg_temp as $$
    select exists (select 1 from delegation d where d.corp_id = in_corp and d.userid = away and d.delegate = acting
                   and d.ended_at is null and d.starts_at <= clock_timestamp() and d.ends_at > clock_timestamp())
$$;

create or replace function guard_signature() returns trigger language plpgsql
    security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    asked approval%rowtype;
    acting_person text;
    away_person text;
    asking_person text;
begin
    select * into asked from approval where corp_id = new.corp_id and id = new.approval_id for update;
    if not found or asked.state not in ('pending_level1', 'pending_level2') or asked.round <> new.round then
        raise exception 'this request is not open for signatures' using errcode = 'TW040';
    end if;
    if new.content_hash <> asked.content_hash or new.fingerprint <> asked.fingerprint then
        raise exception 'a signature belongs to this content and base' using errcode = 'TW041';
    end if;
    if asked.state <> 'pending_level' || new.level
       and not (new.by_asking and new.level = 1 and asked.state = 'pending_level2') then
        raise exception 'level % is not due', new.level using errcode = 'TW042';
    end if;
    select e.person into acting_person from employee e
     where e.corp_id = new.corp_id and e.userid = new.signer and e.status = 'active';
    if not found or acting_person <> new.signer_person then
        raise exception 'the signer is not an active employee' using errcode = 'TW043';
    end if;
    -- Who asked may have been found to be one more account of somebody since.
    select e.person into asking_person from employee e where e.corp_id = new.corp_id and e.userid = asked.requester;
    if new.by_asking <> (new.level = 1 and lower(new.signer) = lower(asked.requester)) then
        raise exception 'a requester signs by asking only' using errcode = 'TW044';
    end if;
    if not new.by_asking and (new.signer_person in (asked.requester_person, asking_person)
                              or lower(new.signer) = lower(asked.requester)) then
        raise exception 'the requester never signs' using errcode = 'TW044';
    end if;
    if new.on_behalf_of is not null then
        select e.person into away_person from employee e
         where e.corp_id = new.corp_id and e.userid = new.on_behalf_of and e.status = 'active';
        if not found or new.by_asking or away_person = acting_person
           or not stands_in(new.corp_id, new.on_behalf_of, new.signer) then
            raise exception 'nobody signs for another without a delegation in force' using errcode = 'TW047';
        end if;
        if away_person in (asked.requester_person, asking_person) then
            raise exception 'the requester never signs' using errcode = 'TW044';
        end if;
    end if;
    if exists (select 1 from employee e where e.corp_id = new.corp_id and e.person in (acting_person, away_person)
               and lower(e.userid) in (select lower(userid) from unnest(asked.barred || asked.about_userid) as userid)) then
        raise exception 'this employee never signs this request' using errcode = 'TW045';
    end if;
    if exists (select 1 from unnest(array[new.signer, new.on_behalf_of]) as who where who is not null and not exists (
                   select 1 from employee_role r where r.corp_id = new.corp_id and r.userid = who
                   and (r.role = 'supervisor' or new.level = 1 and r.role = 'manager'))) then
        raise exception 'the signer holds no role that signs level %', new.level using errcode = 'TW046';
    end if;
    -- A delegate is the person he stands for: those two are never the two people of one request.
    -- Compared as they are known now: two accounts may have been joined since the first signature.
    if exists (select 1 from approval_signature s
                 left join employee away on away.corp_id = s.corp_id and away.userid = s.on_behalf_of
                 left join employee acting on acting.corp_id = s.corp_id and acting.userid = s.signer
               where s.corp_id = new.corp_id and s.approval_id = new.approval_id and s.round = new.round
                 and array[s.signer_person, acting.person, away.person] && array[acting_person, away_person]) then
        raise exception 'two signatures are of two people' using errcode = 'TW048';
    end if;
    return new;
end $$;

-- ---------------------------------------------------------------------------------------------------------------------
-- Recovery: only a session of the owner role that says so, which is never the service's.

create function is_recovering() returns boolean language sql stable
    security definer set search_path = pg_catalog, public, pg_temp as
$$ select session_user = current_user and coalesce(current_setting('tagwarden.recover', true), '') = 'on' $$;

create or replace function guard_role() returns trigger language plpgsql
    security definer set search_path = pg_catalog, public, pg_temp as $$
begin
    if tg_op = 'UPDATE' and (new.corp_id, new.userid, new.role) is distinct from (old.corp_id, old.userid, old.role) then
        raise exception 'a role is taken and given, never rewritten' using errcode = 'TW080';
    end if;
    if tg_op = 'INSERT' and new.role in ('manager', 'supervisor') and not in_setup(new.corp_id) and not is_recovering() then
        perform consume_effect(new.corp_id, format('role:%s:%s:give', new.userid, new.role));
    end if;
    return new;
end $$;

-- Two accounts may be found to be one person, for good; nobody is ever made two.
create or replace function guard_employee() returns trigger language plpgsql
    security definer set search_path = pg_catalog, public, pg_temp as $$
begin
    if (new.corp_id, new.userid) is distinct from (old.corp_id, old.userid) then
        raise exception 'an employee keeps the userid' using errcode = 'TW081';
    end if;
    if new.person <> old.person and (old.person <> lower(old.userid)
       or exists (select 1 from employee e where e.corp_id = old.corp_id and e.userid <> old.userid and e.person = old.person)
       or not exists (select 1 from employee e where e.corp_id = old.corp_id and e.userid <> old.userid and e.person = new.person)) then
        raise exception 'who somebody is may be joined once and never parted' using errcode = 'TW081';
    end if;
    return new;
end $$;

-- A value group's choice decides what a change takes along.
create or replace function guard_tag_group() returns trigger language plpgsql
    security definer set search_path = pg_catalog, public, pg_temp as $$
begin
    if (new.corp_id, new.id) is distinct from (old.corp_id, old.id) then
        raise exception 'a tag group keeps its id' using errcode = 'TW070';
    end if;
    if in_setup(new.corp_id) then
        return new;
    end if;
    if new.kind <> old.kind and 'value' in (new.kind, old.kind) then
        perform consume_effect(new.corp_id, format('group:%s:kind:%s', new.id, new.kind));
    end if;
    if old.kind = 'value' and new.choice <> old.choice then
        perform consume_effect(new.corp_id, format('group:%s:choice:%s', new.id, new.choice));
    end if;
    if old.kind = 'value' and new.deleted_at is distinct from old.deleted_at then
        perform consume_effect(new.corp_id, format('group:%s:delete', new.id));
    end if;
    return new;
end $$;

-- ---------------------------------------------------------------------------------------------------------------------
-- No commit of the service without its line: at commit the audit's head must have moved in this transaction.
-- `closed_xid` is written by close_command() alone; the application's role has no right on the head.

alter table audit_head add column closed_xid xid8;

create or replace function close_command(in_corp text, bodies bytea[], bumped boolean) returns bigint
    language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    governed text := coalesce(current_setting('tagwarden.governed', true), '');
    epochal  text := coalesce(current_setting('tagwarden.epochal', true), '');
    head     audit_head%rowtype;
    line     bytea;
begin
    if governed <> '' and cardinality(bodies) = 0 then
        raise exception 'rows of % changed without an audit line', governed using errcode = 'TW002';
    end if;
    if epochal <> '' and not bumped then
        raise exception 'rows of % changed without a new epoch', epochal using errcode = 'TW003';
    end if;
    if cardinality(bodies) = 0 then
        return 0;
    end if;
    select * into strict head from audit_head where corp_id = in_corp for update;
    foreach line in array bodies loop
        head.seq := head.seq + 1;
        head.hash := sha256(head.hash || int8send(head.seq) || line);
        insert into audit_line (corp_id, seq, body, hash) values (in_corp, head.seq, line, head.hash);
    end loop;
    update audit_head set seq = head.seq, hash = head.hash, closed_xid = pg_current_xact_id() where corp_id = in_corp;
    perform set_config('tagwarden.governed', '', true);
    perform set_config('tagwarden.epochal', '', true);
    return head.seq;
end $$;

create function require_line() returns trigger language plpgsql
    security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    of_corp text := case when tg_op = 'DELETE' then old.corp_id else new.corp_id end;
begin
    -- The owner role is the operator's: it migrates, and it closes its own commands.
    if session_user = current_user then
        return null;
    end if;
    if not exists (select 1 from audit_head h where h.corp_id = of_corp and h.closed_xid = pg_current_xact_id()) then
        raise exception 'a row of % changed without an audit line', tg_table_name using errcode = 'TW002';
    end if;
    return null;
end $$;

do $$
declare
    watched text;
begin
    for watched in
        select distinct c.relname from pg_trigger t join pg_class c on c.oid = t.tgrelid join pg_proc p on p.oid = t.tgfoid
         where p.proname in ('mark_governed', 'mark_epochal')
           and c.relname not in ('corp', 'tag', 'tag_group') order by 1
    loop
        execute format('create constraint trigger %I after insert or update or delete on %I deferrable initially deferred'
                       ' for each row execute function require_line()', watched || '_needs_line', watched);
    end loop;
end $$;
create constraint trigger approval_signature_needs_line after insert on approval_signature
    deferrable initially deferred for each row execute function require_line();
create constraint trigger approval_effect_needs_line after insert or update on approval_effect
    deferrable initially deferred for each row execute function require_line();
create constraint trigger corp_needs_line after insert or update of state, writes_suspended on corp
    deferrable initially deferred for each row execute function require_line();
create constraint trigger tag_group_needs_line after insert or delete or update of name, kind, choice, deleted_at on tag_group
    deferrable initially deferred for each row execute function require_line();
create constraint trigger tag_needs_line after insert or delete or update of
    group_id, name, parent_id, meaning, service_process, ends_on, retired_at, deleted_at on tag
    deferrable initially deferred for each row execute function require_line();

-- ---------------------------------------------------------------------------------------------------------------------
-- A page of customers by owner and tag is read from these indexes alone, in the order of the page.

drop index follow_of_customer;
create index follow_of_customer on follow (corp_id, external_userid) include (id, userid, since, ended_at);
drop index follow_open;
create unique index follow_open on follow (corp_id, userid, external_userid) include (id, since) where ended_at is null;
drop index assignment_of_tag;
create index assignment_of_tag on assignment (corp_id, tag_id, follow_id) where ended_at is null;
