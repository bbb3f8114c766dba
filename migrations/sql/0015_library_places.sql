-- Places of tags and groups in both directions, and whose a group of the library is.

-- `bulk`: put back because WeCom showed another place, which waits for what people do here. `put_back`: how often in a
-- row, so that a WeCom that keeps no places is not told for ever. `claimed`: an admin says that it is ours; WeCom decides.
alter table library_sync
    add column bulk     boolean not null default false,
    add column put_back smallint not null default 0,
    add column claimed  boolean not null default false;
alter table library_group_sync
    add column bulk     boolean not null default false,
    add column put_back smallint not null default 0,
    add column claimed  boolean not null default false;

-- WeCom said that another app made it: what a reading shows later proves nothing against that.
alter table tag_group add column disowned_at timestamptz;

-- Until 0014 nobody noted which groups this app made. WeCom knows: such a group is as old as one of our tags in it. So
-- the library is read once more wherever there is one to find.
insert into wecom_refresh (corp_id, kind, key, events)
select distinct g.corp_id, 'library', '', '[{"change": "whose_groups"}]'::jsonb from tag_group g
  join tag t on t.corp_id = g.corp_id and t.group_id = g.id and t.made_by_us and t.wecom_id is not null and t.deleted_at is null
 where g.wecom_id is not null and not g.made_by_us and g.deleted_at is null
on conflict (corp_id, kind, key) do nothing;

-- WeCom gave the name that an account of ours gave up to somebody else: by that name nobody is meant any more.
alter table employee add column name_reused boolean not null default false;

-- Which tags of WeCom's library were kept out: on a customer they are no strategy tags. And strategy tags by id, to be
-- counted without reading every customer's.
alter table tag_library add column kept_out_ids text[] not null default '{}';
create index follow_label_strategy on follow_label (corp_id, wecom_id) where kind = 'strategy';
