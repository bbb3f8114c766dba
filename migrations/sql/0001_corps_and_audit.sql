-- Tenants, their epoch, their credentials, idempotent answers, and the audit chain.
-- Every table carries corp_id; composite foreign keys keep tenants apart even where a query forgets.

create table corp (
    corp_id          text primary key,
    name             text not null,
    state            text not null default 'setup' check (state in ('setup', 'live')),
    writes_suspended boolean not null default false,
    time_zone        text not null default 'Asia/Shanghai',
    org_mirrored_at  timestamptz,
    created_at       timestamptz not null default now(),
    activated_at     timestamptz
);

create table corp_epoch (
    corp_id text primary key references corp,
    epoch   bigint not null default 1
);

create function guard_epoch() returns trigger language plpgsql as $$
begin
    if new.corp_id <> old.corp_id or new.epoch < old.epoch then
        raise exception 'an epoch only grows' using errcode = 'TW011';
    end if;
    return new;
end $$;
create trigger corp_epoch_guard before update on corp_epoch for each row execute function guard_epoch();

create table corp_credential (
    corp_id            text not null references corp,
    app                text not null,
    agent_id           bigint,
    secret_sealed      bytea not null,
    token_sealed       bytea,
    aes_key_sealed     bytea,
    stopped_at         timestamptz,
    stopped_reason     text,
    updated_at         timestamptz not null default now(),
    primary key (corp_id, app)
);

create table idempotency (
    corp_id    text not null references corp,
    subject    text not null,
    route      text not null,
    key        text not null,
    body_hash  text not null,
    result     jsonb not null,
    created_at timestamptz not null default now(),
    primary key (corp_id, subject, route, key)
);
create index idempotency_age on idempotency (created_at);

-- ---------------------------------------------------------------------------------------------------------------------
-- Audit: stored canonical bytes; hash = sha256(previous hash || big-endian sequence || bytes).

create table audit_line (
    corp_id text   not null references corp,
    seq     bigint not null,
    body    bytea  not null,
    hash    bytea  not null,
    primary key (corp_id, seq)
);

create table audit_head (
    corp_id text primary key references corp,
    seq     bigint not null default 0,
    hash    bytea  not null
);

create table refusal_tally (
    corp_id  text not null references corp,
    key      text not null,
    minute   timestamptz not null,
    repeated integer not null default 0,
    sample   jsonb not null,
    primary key (corp_id, key, minute)
);

create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% rows are never changed or removed', tg_table_name using errcode = 'TW001';
end $$;

create trigger audit_line_frozen before update or delete on audit_line
    for each row execute function refuse_change();
create trigger audit_line_kept before truncate on audit_line
    for each statement execute function refuse_change();

-- A governed table raises a flag when its rows change; close_command() reads it as the command's last statement.
create function mark_governed() returns trigger language plpgsql as $$
begin
    perform set_config('tagwarden.governed', tg_table_name, true);
    return null;
end $$;

-- What decisions stand on (roles, organisation, kinds, policy, agreements): the epoch must move with it.
create function mark_epochal() returns trigger language plpgsql as $$
begin
    perform set_config('tagwarden.governed', tg_table_name, true);
    perform set_config('tagwarden.epochal', tg_table_name, true);
    return null;
end $$;

create function close_command(in_corp text, bodies bytea[], bumped boolean) returns bigint
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
    update audit_head set seq = head.seq, hash = head.hash where corp_id = in_corp;
    perform set_config('tagwarden.governed', '', true);
    perform set_config('tagwarden.epochal', '', true);
    return head.seq;
end $$;

-- `setup` is left by activate and never entered again: in setup the guards of the write path stand open for the import.
create function guard_corp() returns trigger language plpgsql as $$
begin
    if old.state = 'live' and new.state <> 'live' then
        raise exception 'a live corp never returns to setup' using errcode = 'TW010';
    end if;
    if new.corp_id <> old.corp_id then
        raise exception 'a corp keeps its id' using errcode = 'TW010';
    end if;
    return new;
end $$;
create trigger corp_guard before update on corp for each row execute function guard_corp();
create trigger corp_governed after insert or update of state, writes_suspended on corp
    for each statement execute function mark_governed();
