-- People of different companies have the same userids. An index that knows only them reads the requests of every company to find
-- those of one.
create function people_of_corp(corp text, people text[]) returns text[] language sql immutable parallel safe
    set search_path = pg_catalog
    as $$ select coalesce(array_agg(corp || '/' || one), '{}') from unnest(people) one $$;

create index approval_signers_of_corp on approval using gin (people_of_corp(corp_id, level1 || level2));
create index approval_barred_of_corp on approval using gin (people_of_corp(corp_id, barred));
drop index approval_signers;
drop index approval_barred;
