"""What is kept in the database, and every statement that is ever run there. The schema is made by the first owner that comes.

Three kinds of locks, all advisory: an owner's session holds that of its *name*, exclusively; each holder's session that of the
*epoch*, shared; and the schema is made under one of its own. The server gives up a session's locks at its end, however it ends.

`ref_proxy` is the one channel. What comes there is a hint, `WORD NUMBER`; what is so is looked up in the tables, for anybody who
may connect to the database may notify.
"""

from __future__ import annotations

import re
from hashlib import blake2b

__all__ = ["CHANNEL", "FORMAT", "hint", "key"]

FORMAT = 1
CHANNEL = "ref_proxy"
_HINT = re.compile(r"(gone|who|told|left|ask|answer) ([0-9]{1,18})", re.ASCII)


def key(kind: str, which: object) -> int:
    """The number of an advisory lock. Other programs have theirs in the same space: so it is drawn from all 64 bits."""
    return int.from_bytes(blake2b(f"ref_proxy {kind} {which}".encode(), digest_size=8).digest(), "big", signed=True)


def hint(payload: str) -> tuple[str, int] | None:
    """What a notification says; None if it is none of ours."""
    found = _HINT.fullmatch(payload)
    return None if found is None else (found[1], int(found[2]))


_IS_HELD = """exists (select from pg_locks l
    where l.locktype = 'advisory' and l.objsubid = 1
    and l.database = (select oid from pg_database where datname = current_database())
    and (l.classid::bigint << 32 | l.objid::bigint) = {lock}{more})"""
OWNED = _IS_HELD.format(lock="a.lock", more=" and l.granted and l.mode = 'ExclusiveLock'")
HELD = _IS_HELD.format(lock="h.lock", more=" and l.granted and l.mode = 'ShareLock' and l.pid = h.session")
# Nobody holds the epoch of this row, or waits for it, and the session of its owner is over: no removal asks for it, but one of an
# owner that has lost its session.
_ABANDONED = f"""not {_IS_HELD.format(lock="h.lock", more="")}
    and not exists (select from ref_proxy.announced a where a.owner = h.owner and {OWNED})"""

# A role or a database may have other defaults, and these would break what is promised. A commit that is answered before it is on
# the disk would be forgotten in a crash: a holder, or that an epoch was given away. What is surer than that may stay.
SET_UP = """select set_config(name, value, false) from (values
    ('transaction_timeout', '0'),
    ('search_path', 'pg_catalog'), ('client_encoding', 'UTF8'), ('default_transaction_isolation', 'read committed'),
    ('default_transaction_read_only', 'off'), ('statement_timeout', '0'), ('lock_timeout', '0'), ('idle_session_timeout', '0'),
    ('synchronous_commit', coalesce(nullif(current_setting('synchronous_commit'), 'off'), 'on')),
    ('tcp_keepalives_idle', $1), ('tcp_keepalives_interval', $1), ('tcp_keepalives_count', '2'), ('tcp_user_timeout', $2)
    ) as settings (name, value) where name in (select name from pg_settings)"""
LISTEN = f"listen {CHANNEL}"
WHERE = "select pg_backend_pid(), pg_is_in_recovery()"
BEGIN_HERE, HERE = "begin", "select pg_backend_pid()"

IS_THERE = "select to_regclass('ref_proxy.protocol') is not null"
SCHEMA_VERSION = "select version from ref_proxy.protocol"
# The sequence begins at the time, in milliseconds: so no epoch comes again where somebody has dropped the schema.
SCHEMA = f"""
select pg_advisory_xact_lock({key("schema", "")});
create schema if not exists ref_proxy;
create table if not exists ref_proxy.protocol (version int primary key);
create sequence if not exists ref_proxy.epoch;
select setval('ref_proxy.epoch', (extract(epoch from clock_timestamp()) * 1000)::bigint)
    where not exists (select from ref_proxy.protocol);
create table if not exists ref_proxy.announced (
    name text primary key, epoch bigint not null, owner bigint not null, lock bigint not null,
    state text not null, info text not null,
    host text not null, pid int not null, process text not null);
create table if not exists ref_proxy.holder (
    id bigint generated always as identity primary key,
    epoch bigint not null, owner bigint not null, lock bigint not null, session int not null,
    lease float8 not null, host text not null, pid int not null, process text not null, boot text not null, space text not null,
    started text not null, denied boolean not null default false, report text not null default '{{}}',
    reported timestamptz not null default '-infinity', abandoned timestamptz);
create index if not exists holder_epoch on ref_proxy.holder (epoch);
create table if not exists ref_proxy.request (
    id bigint generated always as identity primary key, owner bigint not null, timeout float8, fence_after float8,
    taken boolean not null default false, answer text, since timestamptz not null default now());
insert into ref_proxy.protocol select {FORMAT} where not exists (select from ref_proxy.protocol)"""

# ---- The owner: $1 is the name, or the epoch ----

TAKE_NAME = "select pg_try_advisory_lock($1)"
DROP_NAME = "select pg_advisory_unlock($1)"
WHO_OWNS = "select host, pid, process from ref_proxy.announced where name = $1"
# Whoever holds it from an owner that is dead is told.
ANNOUNCE = """
with old as (select epoch from ref_proxy.announced where name = $1),
next as (select nextval('ref_proxy.epoch') as epoch),
new as (insert into ref_proxy.announced as a (name, epoch, owner, lock, state, info, host, pid, process)
    select $1, epoch, epoch, $2, 'live', $3, $4, $5::int, $6 from next
    on conflict (name) do update set epoch = excluded.epoch, owner = excluded.owner, state = 'live', info = excluded.info,
        host = excluded.host, pid = excluded.pid, process = excluded.process
    returning a.epoch)
select new.epoch, (select count(pg_notify('ref_proxy', 'gone ' || old.epoch)) from old) from new"""
# What nobody needs any more, and what nobody was left to take away. A row that is gone says that its holder has let go: so an
# owner that has lost its session has these days from when that was first noticed, however long it was held before.
TIDY = f"""
with old as (delete from ref_proxy.request where since < now() - interval '7 days')
delete from ref_proxy.holder h where abandoned < now() - interval '7 days' and {_ABANDONED}"""
NOTICE = f"update ref_proxy.holder h set abandoned = now() where abandoned is null and {_ABANDONED}"
SUCCEED = """
update ref_proxy.announced set epoch = nextval('ref_proxy.epoch'), info = $2 where owner = $1 and state = 'live'
returning epoch"""
# What the last of these has done, if its answer was lost: after [OVER], which waits for it, or forbids it.
LATEST = """
select max(epoch) from (select epoch, owner from ref_proxy.announced union all select epoch, owner from ref_proxy.holder) as every
where owner = $1 and epoch > $2"""
# $2 is the owner's number, where nothing takes its place.
RECALL = """
with over as (update ref_proxy.announced set state = 'draining' where owner = $2::bigint)
select pg_notify('ref_proxy', 'gone ' || $1::bigint)"""
WITHDRAW = "delete from ref_proxy.announced where owner = $1"
HOLDERS = f"""
select epoch, host, pid, process, {HELD}, report, reported >= $2::timestamptz, boot, space, started from ref_proxy.holder h
where epoch = $1 order by id"""
ASK_WHO = "select clock_timestamp(), pg_notify('ref_proxy', 'who ' || $1)"
TAKE_REQUEST = "update ref_proxy.request set taken = true where owner = $1 and not taken returning id, timeout, fence_after"
ANSWER = """
with answered as (update ref_proxy.request set answer = $2 where id = $1) select pg_notify('ref_proxy', 'answer ' || $1)"""

# ---- The owner, who waits ----

WAIT = "select pg_advisory_lock($1)"
CANCEL = (
    "select pg_cancel_backend(pid) from pg_stat_activity where pid = $1::int and state = 'active' and wait_event_type = 'Lock'"
)
LEFT_BEHIND = "select id, host, pid, boot, space, started, process, lease, denied, report from ref_proxy.holder where epoch = $1"
FORGET = "delete from ref_proxy.holder where id = any($1::bigint[])"
FORGET_ALL = "delete from ref_proxy.holder where epoch = $1"
NOT_DENIED = "select id from ref_proxy.holder where epoch = $1 and not denied"
# One at a time: where it is another role's, the statement is refused.
END = f"select pg_terminate_backend(h.session) from ref_proxy.holder h where h.id = $1 and {HELD}"
# For one whose session could not be ended: [CHECK] tells it. It looks before it renews its lease, as at a recall.
CUT_OFF = """
with cut as (update ref_proxy.holder set session = 0 where id = $1 returning epoch)
select pg_notify('ref_proxy', 'gone ' || epoch) from cut"""

# ---- A holder ----

FIND = f"""
select epoch, owner, info, state, host, pid, process, {OWNED} from ref_proxy.announced a where name = $1"""
# The row and the lock come in one statement, and go in one: whoever is killed has both, and can be found, or neither. The row of
# the name is locked meanwhile: what ends the epoch waits for this, or is found by it (ADR 22).
ENTER = f"""
with live as materialized (select epoch, owner from ref_proxy.announced a
    where epoch = $1::bigint and state = 'live' and {OWNED} for share)
insert into ref_proxy.holder (epoch, owner, lock, session, lease, host, pid, process, boot, space, started)
select epoch, owner, $2::bigint, pg_backend_pid(), $3::float8, $4, $5::int, $6, $7, $8, $9
from live where pg_try_advisory_lock_shared($2::bigint) returning id"""
# The lock stays until the commit, so whoever gets it next finds no row. $2 is null where it is another session's, and not had
# any more: then the owner looks at rows, and hears that this one is gone, if $3.
LEAVE = """
with gone as (delete from ref_proxy.holder where id = $1::bigint returning epoch),
told as (select pg_notify('ref_proxy', 'left ' || epoch) from gone where $3::boolean)
select case when pg_try_advisory_xact_lock_shared($2::bigint) then pg_advisory_unlock_shared($2::bigint) end,
    (select count(*) from told)"""
LET_GO = "select pg_advisory_unlock_shared($1)"  # after a failure, which takes the row back, and not the lock
DENIED = "update ref_proxy.holder set denied = true where id = any($1::bigint[])"
TELL = """
with told as (update ref_proxy.holder set report = $2, reported = clock_timestamp() where id = $1 returning epoch)
select pg_notify('ref_proxy', 'told ' || epoch) from told"""
CHECK = f"""
select mine.epoch, case when a.owner is distinct from mine.owner or not {OWNED} then 'gone'
    when a.state <> 'live' then 'revoked' when a.epoch <= mine.epoch then 'live'
    when exists (select from ref_proxy.holder h where h.epoch = mine.epoch and h.session = pg_backend_pid()) then 'replaced'
    else 'fenced' end, pg_backend_pid()
from unnest($1::bigint[], $2::bigint[]) as mine (epoch, owner) left join ref_proxy.announced a on a.owner = mine.owner"""

# ---- From outside ----

SURVEY = f"""
select name, epoch, state, host, pid, process from ref_proxy.announced a
where ($1::text is null or name = $1) and {OWNED} order by name"""
REQUEST = """
with made as (insert into ref_proxy.request (owner, timeout, fence_after) values ($1, $2, $3) returning id)
select id, pg_notify('ref_proxy', 'ask ' || $1) from made"""
ANSWERED = f"""
select taken, answer, exists (select from ref_proxy.announced a where a.owner = r.owner and {OWNED})
from ref_proxy.request r where id = $1"""
DROP_REQUEST = "delete from ref_proxy.request where id = $1"
