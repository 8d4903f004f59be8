// The rules of the queue: a row per tenant that says whose turn it is, the limit per tenant, who superseded a
// build, since when it waits, and which push each branch's image is of. The counts of a tenant are kept by triggers
// at the end of a transaction, so no writer can forget them and no row of a tenant is locked for longer than a commit.

/** @param {import('knex').Knex} knex */
export async function up(knex) {
  await knex.raw(`
    create table queue_tenants (
      tenant text primary key,
      queued integer not null default 0,
      running integer not null default 0,
      turn bigint not null default 0,
      waiting_since timestamptz not null default clock_timestamp()
    );
    create index queue_tenants_next on queue_tenants (running, turn, waiting_since, tenant) where queued > 0;
    create index queue_tenants_turn on queue_tenants (turn);

    create table queue_limits (
      only_row boolean primary key default true check (only_row),
      running_per_tenant integer,
      ttl_hours integer not null default 24
    );
    insert into queue_limits default values;

    alter table slots add column tenant text;
    update slots set tenant = builds.tenant from builds where builds.id = build_id;

    alter table builds
      add column queued_at timestamptz not null default clock_timestamp(),
      add column superseded_by text references builds (id) on delete set null,
      add column published_as text;
    update builds set queued_at = created_at;
    drop index builds_queue;
    drop index builds_queued_by_tenant;
    create index builds_queue on builds (tenant, priority desc, created_at, id) where status = 'queued';
    create index builds_urgent on builds (priority desc, created_at, id) where status = 'queued' and priority > 10;
    create index builds_queued_at on builds (queued_at) where status = 'queued';
    create index builds_of_ref on builds (app_id, ref) where status in ('queued', 'building', 'pushing');
    create index builds_superseded_by on builds (superseded_by) where superseded_by is not null;

    alter table builders add column free_since timestamptz;
    create index builders_taken on builders (key) where lease_token is not null or status <> 'ready';

    alter table pushes add column seq bigint;
    update pushes set seq = id;
    create sequence pushes_order owned by pushes.seq;
    select setval('pushes_order', (select coalesce(max(id), 0) + 1 from pushes), false);
    alter table pushes alter column seq set not null, alter column seq set default nextval('pushes_order');
    create index pushes_by_seq on pushes (app_id, ref, seq desc);
    drop index pushes_by_ref;

    create table branch_images (
      app_id text not null references apps (id) on delete cascade,
      ref text not null,
      push_seq bigint not null,
      build_id text not null,
      digest text not null,
      published_at timestamptz,
      primary key (app_id, ref)
    );

    insert into queue_tenants (tenant, queued, running)
    select builds.tenant,
           count(*) filter (where status = 'queued'),
           count(slots.build_id)
    from builds left join slots on slots.build_id = builds.id
    group by builds.tenant;

    create function queue_count_builds() returns trigger language plpgsql as $$
    declare
      whose text := coalesce(new.tenant, old.tenant);
      delta integer := (case when tg_op <> 'DELETE' and new.status = 'queued' then 1 else 0 end)
                     - (case when tg_op <> 'INSERT' and old.status = 'queued' then 1 else 0 end);
    begin
      if delta = 0 then return null; end if;
      insert into queue_tenants as t (tenant, queued, turn)
      values (whose, delta, (select greatest(coalesce(max(turn), 0) - 1, 0) from queue_tenants))
      on conflict (tenant) do update
      set queued = t.queued + delta,
          turn = case when t.queued > 0 then t.turn else greatest(t.turn, excluded.turn) end,
          waiting_since = case when t.queued > 0 then t.waiting_since else clock_timestamp() end;
      return null;
    end $$;
    create constraint trigger queue_counts_builds
      after insert or delete or update of status on builds deferrable initially deferred
      for each row execute function queue_count_builds();

    create function queue_name_slot() returns trigger language plpgsql as $$
    begin
      new.tenant := (select tenant from builds where id = new.build_id);
      return new;
    end $$;
    create trigger queue_names_slot before insert or update of build_id on slots
      for each row execute function queue_name_slot();

    create function queue_count_slots() returns trigger language plpgsql as $$
    begin
      if tg_op <> 'INSERT' and old.build_id is not distinct from new.build_id then return null; end if;
      if tg_op <> 'INSERT' and old.tenant is not null then
        update queue_tenants
        set running = running - 1,
            turn = greatest(turn, (select max(turn) - 1 from queue_tenants))
        where tenant = old.tenant;
      end if;
      if new.tenant is not null then
        update queue_tenants set running = running + 1, turn = turn + 1 where tenant = new.tenant;
      end if;
      return null;
    end $$;
    create constraint trigger queue_counts_slots
      after insert or update of build_id on slots deferrable initially deferred
      for each row execute function queue_count_slots();
  `)
}

export async function down() {
  throw new Error('migrations are forward only: restore a backup to go back')
}
