// Every attempt at a build: which worker had it from when to when, and how it ended. Kept by a trigger in the
// transaction that gives or takes the lease, so no writer can forget it; who knows better how an attempt ended, as the
// reaper does, writes it before. An attempt that was handed back does not count, and its number comes again.

/** @param {import('knex').Knex} knex */
export async function up(knex) {
  await knex.raw(`
    create table attempts (
      id bigint generated always as identity primary key,
      build_id text not null references builds (id) on delete cascade,
      attempt integer not null,
      worker text not null,
      claimed_at timestamptz not null,
      ended_at timestamptz,
      outcome text check (outcome in ('built', 'failed', 'cancelled', 'requeued', 'handed_back', 'lost')),
      check ((ended_at is null) = (outcome is null))
    );
    create index attempts_of_build on attempts (build_id, id);
    create unique index attempts_running on attempts (build_id) where ended_at is null;

    create function queue_note_attempt() returns trigger language plpgsql as $$
    begin
      if old.lease_token is not null then
        update attempts
        set ended_at = clock_timestamp(),
            outcome = case
              when new.status in ('failed', 'cancelled') then new.status
              when new.status = 'pushing' then 'built'
              when new.attempt < old.attempt then 'handed_back'
              else 'requeued'
            end
        where build_id = new.id and ended_at is null;
      end if;
      if new.lease_token is not null then
        insert into attempts (build_id, attempt, worker, claimed_at)
        values (new.id, new.attempt, coalesce(new.worker, ''), coalesce(new.claimed_at, clock_timestamp()));
      end if;
      return null;
    end $$;
    create trigger queue_notes_attempt after update of lease_token on builds
      for each row when (old.lease_token is distinct from new.lease_token)
      execute function queue_note_attempt();

    insert into attempts (build_id, attempt, worker, claimed_at)
    select id, attempt, coalesce(worker, ''), coalesce(claimed_at, clock_timestamp())
    from builds where lease_token is not null;
  `)
}

export async function down() {
  throw new Error('migrations are forward only: restore a backup to go back')
}
