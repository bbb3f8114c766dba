-- Approvals, their effects and signatures, and the guards that make the database refuse too (design 3.4).
-- The guards are owned by the owner role and run as it; the application's role owns nothing and cannot switch them off.

create table approval (
    corp_id          text not null references corp,
    id               uuid not null,
    kind             text not null,
    state            text not null check (state in
                         ('pending_level1', 'pending_level2', 'applied', 'rejected', 'withdrawn', 'expired', 'stale')),
    round            integer not null default 1,
    payload          jsonb not null,
    fingerprint      text not null,
    content_hash     text not null,
    requester        text not null,
    requester_person text not null,
    act              text,
    reason           text not null default '',
    about_userid     text not null,
    about_customer   text,
    level1           text[] not null,
    level2           text[] not null,
    barred           text[] not null default '{}',
    closed_reason    text,
    version          bigint not null default 1,
    created_at       timestamptz not null,
    updated_at       timestamptz not null,
    expires_at       timestamptz not null,
    applied_xid      xid8,
    primary key (id),
    unique (corp_id, id)
);
create index approval_open on approval (corp_id, id) where state in ('pending_level1', 'pending_level2');
create index approval_mine on approval (corp_id, requester, id);

create table approval_effect (
    corp_id     text not null,
    approval_id uuid not null,
    round       integer not null,
    key         text not null,
    consumed_at timestamptz,
    primary key (approval_id, round, key),
    foreign key (corp_id, approval_id) references approval (corp_id, id)
);
create index approval_effect_key on approval_effect (corp_id, key) where consumed_at is null;

create table approval_signature (
    corp_id       text not null,
    id            uuid not null,
    approval_id   uuid not null,
    round         integer not null,
    level         smallint not null check (level in (1, 2)),
    signer        text not null,
    signer_person text not null,
    on_behalf_of  text,
    by_asking     boolean not null default false,
    verdict       text not null check (verdict in ('approve', 'reject')),
    comment       text not null default '',
    content_hash  text not null,
    fingerprint   text not null,
    epoch         bigint not null,
    signed_at     timestamptz not null,
    primary key (id),
    unique (approval_id, round, level),
    unique (approval_id, round, signer_person),
    foreign key (corp_id, approval_id) references approval (corp_id, id)
);

create trigger approval_governed after insert or update on approval
    for each statement execute function mark_governed();
create trigger approval_signature_frozen before update or delete on approval_signature
    for each row execute function refuse_change();

create function guard_approval() returns trigger language plpgsql
    security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    signed boolean;
    complete boolean;
begin
    if tg_op = 'INSERT' then
        if new.state not in ('pending_level1', 'pending_level2') or new.round <> 1 or new.applied_xid is not null then
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
    if (new.corp_id, new.id, new.kind, new.requester, new.requester_person, new.created_at)
       is distinct from (old.corp_id, old.id, old.kind, old.requester, old.requester_person, old.created_at) then
        raise exception 'what an approval is and who asked never changes' using errcode = 'TW022';
    end if;
    if not new.barred @> old.barred then
        raise exception 'who is barred stays barred' using errcode = 'TW022';
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
create trigger approval_guard before insert or update on approval
    for each row execute function guard_approval();

create function guard_effect() returns trigger language plpgsql
    security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    asked approval%rowtype;
begin
    if new.consumed_at is not null then
        raise exception 'an effect begins unused' using errcode = 'TW030';
    end if;
    select * into asked from approval where corp_id = new.corp_id and id = new.approval_id;
    if asked.state not in ('pending_level1', 'pending_level2') or asked.round <> new.round then
        raise exception 'effects are written with their request' using errcode = 'TW031';
    end if;
    if exists (select 1 from approval_signature s where s.approval_id = new.approval_id and s.round = new.round) then
        raise exception 'effects are frozen at the first signature' using errcode = 'TW032';
    end if;
    return new;
end $$;
create trigger approval_effect_guard before insert on approval_effect
    for each row execute function guard_effect();

create function guard_signature() returns trigger language plpgsql
    security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    asked approval%rowtype;
    person text;
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
    select e.person into person from employee e
     where e.corp_id = new.corp_id and e.userid = new.signer and e.status = 'active';
    if not found or person <> new.signer_person then
        raise exception 'the signer is not an active employee' using errcode = 'TW043';
    end if;
    if new.by_asking <> (new.level = 1 and lower(new.signer) = lower(asked.requester)) then
        raise exception 'a requester signs by asking only' using errcode = 'TW044';
    end if;
    if not new.by_asking and (new.signer_person = asked.requester_person or lower(new.signer) = lower(asked.requester)) then
        raise exception 'the requester never signs' using errcode = 'TW044';
    end if;
    if exists (select 1 from employee e where e.corp_id = new.corp_id and e.person = new.signer_person
               and lower(e.userid) in (select lower(userid) from unnest(asked.barred || asked.about_userid) as userid)) then
        raise exception 'this employee never signs this request' using errcode = 'TW045';
    end if;
    if not exists (select 1 from employee_role r where r.corp_id = new.corp_id and r.userid = new.signer
                   and (r.role = 'supervisor' or new.level = 1 and r.role = 'manager')) then
        raise exception 'the signer holds no role that signs level %', new.level using errcode = 'TW046';
    end if;
    return new;
end $$;
create trigger approval_signature_guard before insert on approval_signature
    for each row execute function guard_signature();

-- Uses one effect, once, and only inside the transaction that applied its approval: what is left over dies at its commit.
create function consume_effect(in_corp text, in_key text) returns uuid language plpgsql
    security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    used uuid;
begin
    update approval_effect e set consumed_at = now()
      from approval a
     where a.corp_id = in_corp and a.state = 'applied' and a.applied_xid = pg_current_xact_id_if_assigned()
       and e.corp_id = in_corp and e.approval_id = a.id and e.round = a.round
       and e.key = in_key and e.consumed_at is null
    returning e.approval_id into used;
    if used is null then
        raise exception 'no applied approval covers %', in_key using errcode = 'TW050';
    end if;
    return used;
end $$;

-- Whether an approval was applied by the running transaction.
create function applied_here(in_corp text, in_approval uuid) returns boolean language sql stable
    security definer set search_path = pg_catalog, public, pg_temp as $$
    select exists (select 1 from approval where corp_id = in_corp and id = in_approval and state = 'applied'
                   and applied_xid = pg_current_xact_id_if_assigned())
$$;

create function in_setup(in_corp text) returns boolean language sql stable
    security definer set search_path = pg_catalog, public, pg_temp as
$$ select exists (select 1 from corp where corp_id = in_corp and state = 'setup') $$;

create function kind_of_group(in_corp text, in_group uuid) returns text language sql stable
    security definer set search_path = pg_catalog, public, pg_temp as
$$ select kind from tag_group where corp_id = in_corp and id = in_group $$;

create function guard_assignment() returns trigger language plpgsql
    security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    protected boolean;
    used uuid;
begin
    if tg_op = 'UPDATE' then
        if (new.corp_id, new.id, new.follow_id, new.tag_id, new.source, new.actor, new.since, new.carried_from)
           is distinct from (old.corp_id, old.id, old.follow_id, old.tag_id, old.source, old.actor, old.since, old.carried_from) then
            raise exception 'an assignment is ended, never rewritten' using errcode = 'TW060';
        end if;
        if old.ended_at is not null then
            raise exception 'an ended assignment never changes' using errcode = 'TW060';
        end if;
    end if;
    select kind_of_group(t.corp_id, t.group_id) = 'value' into protected
      from tag t where t.corp_id = new.corp_id and t.id = new.tag_id for share;
    if protected is not true then
        if tg_op = 'INSERT' and new.carried_from is not null then
            raise exception 'only signed value tags are carried over' using errcode = 'TW061';
        end if;
        if new.approval_id is distinct from (case when tg_op = 'INSERT' then null else old.approval_id end)
           and (tg_op = 'UPDATE' or not applied_here(new.corp_id, new.approval_id)) then
            raise exception 'an assignment names the approval that made it' using errcode = 'TW063';
        end if;
        if new.ended_approval_id is not null and not applied_here(new.corp_id, new.ended_approval_id) then
            raise exception 'an ended assignment names the approval that ended it' using errcode = 'TW063';
        end if;
        return new;
    end if;
    if new.until is distinct from (case when tg_op = 'INSERT' then null else old.until end) then
        raise exception 'a value tag has no silent end' using errcode = 'TW062';
    end if;
    if tg_op = 'INSERT' then
        if new.carried_from is not null then
            if not carries(new.corp_id, new.carried_from, new.follow_id, new.tag_id) then
                raise exception 'nothing signed to carry over' using errcode = 'TW061';
            end if;
            return new;
        end if;
        if new.source = 'import' and new.approval_id is null and in_setup(new.corp_id) then
            return new;
        end if;
        used := consume_effect(new.corp_id, format('assign:%s:%s:add', new.follow_id, new.tag_id));
        if new.approval_id is distinct from used then
            raise exception 'an assignment names the approval that made it' using errcode = 'TW063';
        end if;
        return new;
    end if;
    if new.approval_id is distinct from old.approval_id then
        used := consume_effect(new.corp_id, format('assign:%s:%s:adopt', new.follow_id, new.tag_id));
        if old.approval_id is not null or new.approval_id is distinct from used then
            raise exception 'an assignment names the approval that adopted it' using errcode = 'TW063';
        end if;
    end if;
    if new.ended_at is not null then
        used := consume_effect(new.corp_id, format('assign:%s:%s:remove', new.follow_id, new.tag_id));
        if new.ended_approval_id is distinct from used then
            raise exception 'an ended assignment names the approval that ended it' using errcode = 'TW063';
        end if;
    end if;
    return new;
end $$;

-- A signed mark of the same customer and tag whose follow ended (transfer); the unique index sees to "once".
create function carries(in_corp text, from_assignment uuid, to_follow uuid, in_tag uuid) returns boolean language sql stable
    security definer set search_path = pg_catalog, public, pg_temp as $$
    select exists (
        select 1 from assignment a
          join follow was on was.corp_id = a.corp_id and was.id = a.follow_id
          join follow now_with on now_with.corp_id = a.corp_id and now_with.id = to_follow
         where a.corp_id = in_corp and a.id = from_assignment and a.tag_id = in_tag and a.ended_at is null
           and (a.approval_id is not null or a.carried_from is not null)
           and was.ended_at is not null and was.external_userid = now_with.external_userid and now_with.ended_at is null)
$$;

create trigger assignment_guard before insert or update on assignment
    for each row execute function guard_assignment();
create trigger assignment_kept before delete on assignment
    for each row execute function refuse_change();

create function guard_follow() returns trigger language plpgsql as $$
begin
    if (new.corp_id, new.id, new.userid, new.external_userid) is distinct from (old.corp_id, old.id, old.userid, old.external_userid) then
        raise exception 'a follow is ended, never handed over in place' using errcode = 'TW064';
    end if;
    if old.ended_at is not null then
        raise exception 'an ended follow never changes' using errcode = 'TW064';
    end if;
    return new;
end $$;
create trigger follow_guard before update on follow for each row execute function guard_follow();
create trigger follow_kept before delete on follow for each row execute function refuse_change();

create function guard_tag_group() returns trigger language plpgsql
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
    if old.kind = 'value' and new.deleted_at is distinct from old.deleted_at then
        perform consume_effect(new.corp_id, format('group:%s:delete', new.id));
    end if;
    return new;
end $$;
create trigger tag_group_guard before update on tag_group for each row execute function guard_tag_group();
create trigger tag_group_kept before delete on tag_group for each row execute function refuse_change();

create function guard_tag() returns trigger language plpgsql
    security definer set search_path = pg_catalog, public, pg_temp as $$
begin
    if (new.corp_id, new.id) is distinct from (old.corp_id, old.id) then
        raise exception 'a tag keeps its id' using errcode = 'TW071';
    end if;
    if 'value' not in (kind_of_group(old.corp_id, old.group_id), kind_of_group(new.corp_id, new.group_id))
       or in_setup(new.corp_id) then
        return new;
    end if;
    if new.group_id <> old.group_id then
        perform consume_effect(new.corp_id, format('tag:%s:move:%s', new.id, new.group_id));
    end if;
    if new.name <> old.name then
        perform consume_effect(new.corp_id, format('tag:%s:rename:%s', new.id, new.name));
    end if;
    if new.retired_at is distinct from old.retired_at then
        perform consume_effect(new.corp_id,
            format('tag:%s:%s', new.id, case when new.retired_at is null then 'restore' else 'retire' end));
    end if;
    if new.deleted_at is distinct from old.deleted_at then
        perform consume_effect(new.corp_id, format('tag:%s:delete', new.id));
    end if;
    if old.wecom_id is not null and new.wecom_id is distinct from old.wecom_id then
        perform consume_effect(new.corp_id, format('tag:%s:rebind:%s', new.id, new.wecom_id));
    end if;
    return new;
end $$;
create trigger tag_guard before update on tag for each row execute function guard_tag();
create trigger tag_kept before delete on tag for each row execute function refuse_change();

create function guard_role() returns trigger language plpgsql
    security definer set search_path = pg_catalog, public, pg_temp as $$
begin
    if tg_op = 'UPDATE' and (new.corp_id, new.userid, new.role) is distinct from (old.corp_id, old.userid, old.role) then
        raise exception 'a role is taken and given, never rewritten' using errcode = 'TW080';
    end if;
    if tg_op = 'INSERT' and new.role in ('manager', 'supervisor') and not in_setup(new.corp_id) then
        perform consume_effect(new.corp_id, format('role:%s:%s:give', new.userid, new.role));
    end if;
    return new;
end $$;
create trigger employee_role_guard before insert or update on employee_role for each row execute function guard_role();

-- A second account of one person stays that person: who somebody is never moves through the service.
create function guard_employee() returns trigger language plpgsql as $$
begin
    if (new.corp_id, new.userid, new.person) is distinct from (old.corp_id, old.userid, old.person) then
        raise exception 'an employee keeps the userid and stays one person' using errcode = 'TW081';
    end if;
    return new;
end $$;
create trigger employee_guard before update on employee for each row execute function guard_employee();

create function guard_issuer() returns trigger language plpgsql
    security definer set search_path = pg_catalog, public, pg_temp as $$
begin
    if in_setup(new.corp_id) then
        return new;
    end if;
    if tg_op = 'INSERT' then
        perform consume_effect(new.corp_id, format('issuer:%s:bind', new.issuer));
    elsif (new.corp_id, new.issuer) is distinct from (old.corp_id, old.issuer) then
        raise exception 'an issuer keeps its name' using errcode = 'TW082';
    end if;
    if new.may_sign and (tg_op = 'INSERT' or not old.may_sign) then
        perform consume_effect(new.corp_id, format('issuer:%s:may_sign:give', new.issuer));
    end if;
    return new;
end $$;
create trigger issuer_right_guard before insert or update on issuer_right for each row execute function guard_issuer();
