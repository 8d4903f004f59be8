// Workers: who builds, where, how much at once, and whether it is to stop taking builds.

/** @param {import('knex').Knex} knex */
export async function up(knex) {
  await knex.raw(`
    create table workers (
      id text primary key,
      host text not null,
      data_dir text not null,
      version text not null,
      slots integer not null,
      session uuid not null,
      started_at timestamptz not null default clock_timestamp(),
      last_seen_at timestamptz not null default clock_timestamp(),
      drain_requested_at timestamptz,
      drain_until timestamptz
    );
    alter table builds add column last_batch uuid;
  `)
}

export async function down() {
  throw new Error('migrations are forward only: restore a backup to go back')
}
