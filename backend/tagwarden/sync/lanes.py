"""Whose turn it is: dirty follows stand in lanes, and lanes take turns. The statements alone; no rule beside them.

A lane is a department (the owner's main one) or a batch. One department's thousands wait behind each other, not before
another's one. A lane that was served goes to the back; one that has just become busy is at the front.
"""

from __future__ import annotations

AT_ONCE = 8
"""Follows of one lane looked at in one claim: as many as are likely to be locked by others at this moment."""

LANE_OF_OWNER = (
    "select 'department:' || coalesce(e.main_department, (select min(d.department_id) from employee_department d"
    " where d.corp_id = $1 and d.userid = e.userid)) from follow f"
    " join employee e on e.corp_id = f.corp_id and e.userid = f.userid where f.corp_id = $1 and f.id = $2"
)
"""The lane of a follow that is part of no batch."""

_OPEN = "corp_id = $1 and dirty and given_up is null"
_DUE = (
    "s.corp_id = $1 and s.dirty and s.given_up is null and s.settle_at <= now()"
    " and coalesce(s.next_try_at, '-infinity') <= now() and coalesce(s.leased_until, '-infinity') < now()"
)

# Lanes are found by leaping through the index, so a backlog of thousands costs as much as its number of lanes; rows are
# compared from corp_id on, without which the index gives no place to leap to. Only the row that is picked is locked: the
# others are candidates, named one by one, and who else claims passes over a locked one.
CLAIM = f"""with recursive lanes as (
  (select class, lane from follow_sync where {_OPEN} order by class, lane limit 1)
  union all
  select n.class, n.lane from lanes l cross join lateral (
    select class, lane from follow_sync where {_OPEN} and (corp_id, class, lane) > ($1, l.class, l.lane)
     order by corp_id, class, lane limit 1) n),
ready as materialized (
  select d.follow_id, d.settle_at, l.class, l.lane, coalesce(v.served_at, '-infinity') as served_at
    from lanes l left join sync_lane v on v.corp_id = $1 and v.class = l.class and v.lane = l.lane
    cross join lateral (select s.follow_id, s.settle_at from follow_sync s
      where {_DUE} and s.class = l.class and s.lane = l.lane order by s.settle_at limit {AT_ONCE}) d
   where (l.class = 'interactive' or $3) and not exists (select 1 from wecom_pause where corp_id = $1 and paused)),
ranked as materialized (
  select array_agg(follow_id order by class = 'bulk', served_at, lane, settle_at) as ids from ready),
picked as (
  select s.follow_id, s.class, s.lane from follow_sync s where s.follow_id = any((select ids from ranked)::uuid[]) and {_DUE}
   order by array_position((select ids from ranked), s.follow_id) limit 1 for update skip locked),
turn as (
  insert into sync_lane (corp_id, class, lane, served_at) select $1, class, lane, clock_timestamp() from picked
  on conflict (corp_id, class, lane) do update set served_at = excluded.served_at)
update follow_sync s set leased_until = now() + $2::interval from picked, follow f
 where s.follow_id = picked.follow_id and f.corp_id = s.corp_id and f.id = s.follow_id
returning s.follow_id, coalesce((select e.wecom_userid from employee e where e.corp_id = f.corp_id
  and e.userid = f.userid), f.userid) as userid, f.external_userid, s.observed, s.uncertain, s.version, s.attempts,
  s.class = 'bulk' as bulk, s.leased_until as lease, f.ended_at is not null as ended"""
