-- A corp may say that files are its policy's truth: then the matrix is read-only over HTTP.

alter table corp
    add column policy_source text not null default 'console' check (policy_source in ('console', 'files'));

-- Everything an admin may say about the corp changes with its line, not the state alone.
drop trigger corp_governed on corp;
create trigger corp_governed after insert or update of state, writes_suspended, name, time_zone, policy_source on corp
    for each statement execute function mark_governed();
drop trigger corp_needs_line on corp;
create constraint trigger corp_needs_line
    after insert or update of state, writes_suspended, name, time_zone, policy_source on corp
    deferrable initially deferred for each row execute function require_line();

-- Which approval stands behind a role somebody holds, for the access review.
create index approval_effect_of_role on approval_effect (corp_id, key) where consumed_at is not null and key like 'role:%';
