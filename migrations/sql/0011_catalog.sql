-- The catalog: since when a group is of its kind, what else counts against WeCom's limits, the tree, and counts per tag.

-- A mark ends with its month only where it was put on while its group was temporary, and the group has been so ever since.
alter table tag_group add column kind_since timestamptz not null default '-infinity';

-- Tags of WeCom's library that are no rows here, as last seen: they count against the same limit. The row is also what
-- two people who make the last tag at once queue for.
create table tag_library (
    corp_id       text primary key references corp,
    strategy_tags integer not null default 0 check (strategy_tags >= 0),
    kept_out      integer not null default 0 check (kept_out >= 0),
    noted_at      timestamptz
);

-- ---------------------------------------------------------------------------------------------------------------------
-- The tree: a parent lies in the same group, three levels at most, no circles. One tree is changed by one at a time.

create index tag_children on tag (corp_id, parent_id) where parent_id is not null and deleted_at is null;

create function guard_tag_tree() returns trigger language plpgsql
    security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    above  integer;
    below  integer;
    strays integer;
begin
    if tg_op = 'UPDATE' and new.group_id <> old.group_id and exists (
            select 1 from tag t where t.corp_id = new.corp_id and t.parent_id = new.id and t.deleted_at is null) then
        raise exception 'a tag leaves its group without its children only' using errcode = 'TW072';
    end if;
    if new.parent_id is null
       or tg_op = 'UPDATE' and (new.parent_id, new.group_id) is not distinct from (old.parent_id, old.group_id) then
        return new;
    end if;
    perform 1 from tag_group g where g.corp_id = new.corp_id and g.id = new.group_id for no key update;
    with recursive up as (
        select t.id, t.parent_id, t.group_id, t.deleted_at, 1 as level from tag t
         where t.corp_id = new.corp_id and t.id = new.parent_id
        union all
        select t.id, t.parent_id, t.group_id, null, up.level + 1 from up
          join tag t on t.corp_id = new.corp_id and t.id = up.parent_id and t.deleted_at is null where up.level < 4)
    select count(*), count(*) filter (where group_id <> new.group_id or deleted_at is not null or id = new.id)
      from up into above, strays;
    with recursive down as (
        select new.id as id, 1 as level
        union all
        select t.id, down.level + 1 from down
          join tag t on t.corp_id = new.corp_id and t.parent_id = down.id and t.deleted_at is null where down.level < 4)
    select max(level) from down into below;
    if above = 0 or strays > 0 or above + below > 3 then
        raise exception 'a tree has three levels, one group and no circle' using errcode = 'TW072';
    end if;
    return new;
end $$;
create trigger tag_tree before insert or update of parent_id, group_id on tag
    for each row execute function guard_tag_tree();

-- The end of a value tag is its retirement by date, and taking the end away its restoring: two people sign for either.
create function guard_tag_end() returns trigger language plpgsql
    security definer set search_path = pg_catalog, public, pg_temp as $$
begin
    if new.ends_on is distinct from old.ends_on and kind_of_group(new.corp_id, new.group_id) = 'value'
       and not in_setup(new.corp_id) then
        perform consume_effect(new.corp_id, format('tag:%s:end:%s', new.id, coalesce(new.ends_on::text, 'never')));
    end if;
    return new;
end $$;
create trigger tag_end_guard before update of ends_on on tag for each row execute function guard_tag_end();

-- ---------------------------------------------------------------------------------------------------------------------
-- How many open follows carry a tag, and how many of those marks no two people signed for.
--
-- Each statement leaves what it changed as rows of its own: nobody waits for anybody's counter. A worker folds them into
-- the sums; sum and rest are read in one statement, so the figure is right at every moment. What decides whether a mark
-- counts is its follow, so every counting statement holds the follow against its end.

create table tag_count (
    corp_id  text   not null references corp,
    tag_id   uuid   not null,
    carried  bigint not null,
    unbacked bigint not null,
    primary key (corp_id, tag_id),
    foreign key (corp_id, tag_id) references tag (corp_id, id)
);
create table tag_owner_count (
    corp_id  text   not null references corp,
    tag_id   uuid   not null,
    userid   text   not null,
    carried  bigint not null,
    unbacked bigint not null,
    primary key (corp_id, tag_id, userid),
    foreign key (corp_id, tag_id) references tag (corp_id, id)
);
create table tag_count_delta (
    corp_id  text    not null,
    id       bigint  generated always as identity,
    tag_id   uuid    not null,
    userid   text    not null,
    carried  integer not null,
    unbacked integer not null,
    primary key (corp_id, id)
);

create function count_marks_made() returns trigger language plpgsql
    security definer set search_path = pg_catalog, public, pg_temp as $$
begin
    perform 1 from follow f where (f.corp_id, f.id) in (select m.corp_id, m.follow_id from made m)
      order by f.corp_id, f.id for share;
    insert into tag_count_delta (corp_id, tag_id, userid, carried, unbacked)
    select m.corp_id, m.tag_id, f.userid, count(*), count(*) filter (where m.approval_id is null and m.carried_from is null)
      from made m join follow f on f.corp_id = m.corp_id and f.id = m.follow_id and f.ended_at is null
     where m.ended_at is null group by m.corp_id, m.tag_id, f.userid;
    return null;
end $$;
create trigger assignment_made_counted after insert on assignment
    referencing new table as made for each statement execute function count_marks_made();

create function count_marks_changed() returns trigger language plpgsql
    security definer set search_path = pg_catalog, public, pg_temp as $$
begin
    perform 1 from follow f where (f.corp_id, f.id) in (select m.corp_id, m.follow_id from made m)
      order by f.corp_id, f.id for share;
    insert into tag_count_delta (corp_id, tag_id, userid, carried, unbacked)
    select d.corp_id, d.tag_id, f.userid, sum(d.carried), sum(d.unbacked) from (
        select corp_id, follow_id, tag_id, 1 as carried,
               case when approval_id is null and carried_from is null then 1 else 0 end as unbacked
          from made where ended_at is null
        union all
        select corp_id, follow_id, tag_id, -1,
               case when approval_id is null and carried_from is null then -1 else 0 end
          from was where ended_at is null) d
      join follow f on f.corp_id = d.corp_id and f.id = d.follow_id and f.ended_at is null
     group by d.corp_id, d.tag_id, f.userid having sum(d.carried) <> 0 or sum(d.unbacked) <> 0;
    return null;
end $$;
create trigger assignment_changed_counted after update on assignment
    referencing old table as was new table as made for each statement execute function count_marks_changed();

create function count_follows_changed() returns trigger language plpgsql
    security definer set search_path = pg_catalog, public, pg_temp as $$
begin
    insert into tag_count_delta (corp_id, tag_id, userid, carried, unbacked)
    select m.corp_id, a.tag_id, m.userid, sum(m.sign),
           sum(case when a.approval_id is null and a.carried_from is null then m.sign else 0 end)
      from (select n.corp_id, n.id, n.userid, case when n.ended_at is null then 1 else -1 end as sign
              from made n join was w on w.corp_id = n.corp_id and w.id = n.id
             where (n.ended_at is null) <> (w.ended_at is null)) m
      join assignment a on a.corp_id = m.corp_id and a.follow_id = m.id and a.ended_at is null
     group by m.corp_id, a.tag_id, m.userid;
    return null;
end $$;
create trigger follow_changed_counted after update on follow
    referencing old table as was new table as made for each statement execute function count_follows_changed();

-- Adds what was left behind to the sums; returns how many rows. Two at once: one of them has nothing to do.
create function fold_tag_counts(in_corp text, most integer) returns integer language plpgsql
    security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    folded integer;
begin
    if not pg_try_advisory_xact_lock(hashtextextended('fold_tag_counts:' || in_corp, 0)) then
        return 0;
    end if;
    with gone as (
        delete from tag_count_delta d where d.corp_id = in_corp and d.id in (
            select o.id from tag_count_delta o where o.corp_id = in_corp order by o.id limit most)
        returning d.tag_id, d.userid, d.carried, d.unbacked),
    of_owner as (
        insert into tag_owner_count as c (corp_id, tag_id, userid, carried, unbacked)
        select in_corp, tag_id, userid, sum(carried), sum(unbacked) from gone group by tag_id, userid
        on conflict (corp_id, tag_id, userid)
        do update set carried = c.carried + excluded.carried, unbacked = c.unbacked + excluded.unbacked),
    of_tag as (
        insert into tag_count as c (corp_id, tag_id, carried, unbacked)
        select in_corp, tag_id, sum(carried), sum(unbacked) from gone group by tag_id
        on conflict (corp_id, tag_id)
        do update set carried = c.carried + excluded.carried, unbacked = c.unbacked + excluded.unbacked)
    select count(*) from gone into folded;
    return folded;
end $$;

-- What the previous version left. The triggers above hold both tables against writers until this commits.
insert into tag_owner_count (corp_id, tag_id, userid, carried, unbacked)
select a.corp_id, a.tag_id, f.userid, count(*), count(*) filter (where a.approval_id is null and a.carried_from is null)
  from assignment a join follow f on f.corp_id = a.corp_id and f.id = a.follow_id and f.ended_at is null
 where a.ended_at is null group by a.corp_id, a.tag_id, f.userid;
insert into tag_count (corp_id, tag_id, carried, unbacked)
select corp_id, tag_id, sum(carried), sum(unbacked) from tag_owner_count group by corp_id, tag_id;
