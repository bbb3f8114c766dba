-- The counting triggers look up the follows and marks of one statement, however many there are of others.
--
-- A trigger's plan is made once a session and kept. Made while the tables were small (a company's first import), it read
-- all follows for each statement, or all of the company's for each mark, until statistics were gathered: the more were in,
-- the slower the next page. So the plan is left no choice: row by row (`lateral`), and a follow by its id alone, because
-- every other index begins with the company. What is counted, and what is locked in which order, is as before.

create or replace function count_marks_made() returns trigger language plpgsql
    security definer set search_path = pg_catalog, public, pg_temp as $$
begin
    perform 1 from (select distinct m.corp_id, m.follow_id from made m order by m.corp_id, m.follow_id) m
      cross join lateral (select 1 from follow o where o.id = m.follow_id for share) f;
    insert into tag_count_delta (corp_id, tag_id, userid, carried, unbacked)
    select m.corp_id, m.tag_id, f.userid, count(*), count(*) filter (where m.approval_id is null and m.carried_from is null)
      from made m cross join lateral
           (select o.corp_id, o.userid, o.ended_at from follow o where o.id = m.follow_id offset 0) f
     where m.ended_at is null and f.corp_id = m.corp_id and f.ended_at is null group by m.corp_id, m.tag_id, f.userid;
    return null;
end $$;

create or replace function count_marks_changed() returns trigger language plpgsql
    security definer set search_path = pg_catalog, public, pg_temp as $$
begin
    perform 1 from (select distinct m.corp_id, m.follow_id from made m order by m.corp_id, m.follow_id) m
      cross join lateral (select 1 from follow o where o.id = m.follow_id for share) f;
    insert into tag_count_delta (corp_id, tag_id, userid, carried, unbacked)
    select d.corp_id, d.tag_id, f.userid, sum(d.carried), sum(d.unbacked) from (
        select corp_id, follow_id, tag_id, 1 as carried,
               case when approval_id is null and carried_from is null then 1 else 0 end as unbacked
          from made where ended_at is null
        union all
        select corp_id, follow_id, tag_id, -1,
               case when approval_id is null and carried_from is null then -1 else 0 end
          from was where ended_at is null) d
      cross join lateral
           (select o.corp_id, o.userid, o.ended_at from follow o where o.id = d.follow_id offset 0) f
     where f.corp_id = d.corp_id and f.ended_at is null
     group by d.corp_id, d.tag_id, f.userid having sum(d.carried) <> 0 or sum(d.unbacked) <> 0;
    return null;
end $$;

create or replace function count_follows_changed() returns trigger language plpgsql
    security definer set search_path = pg_catalog, public, pg_temp as $$
begin
    insert into tag_count_delta (corp_id, tag_id, userid, carried, unbacked)
    select m.corp_id, a.tag_id, m.userid, sum(m.sign),
           sum(case when a.approval_id is null and a.carried_from is null then m.sign else 0 end)
      from (select n.corp_id, n.id, n.userid, case when n.ended_at is null then 1 else -1 end as sign
              from made n join was w on w.corp_id = n.corp_id and w.id = n.id
             where (n.ended_at is null) <> (w.ended_at is null)) m
      cross join lateral (select o.tag_id, o.approval_id, o.carried_from from assignment o
                           where o.corp_id = m.corp_id and o.follow_id = m.id and o.ended_at is null offset 0) a
     group by m.corp_id, a.tag_id, m.userid;
    return null;
end $$;

-- Which follows the pages of a run under way have shown, one row a page; gone when its owners are left behind. A note on each
-- follow would write every row of a company to find the few that a complete reading did not show.
alter table sync_run add unique (corp_id, id);
create table reading_page (
    corp_id    text   not null references corp,
    run_id     uuid   not null,
    id         uuid   not null,
    follow_ids uuid[] not null,
    primary key (corp_id, run_id, id),
    foreign key (corp_id, run_id) references sync_run (corp_id, id)
);
