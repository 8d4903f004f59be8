// Workers that claim nothing because their disk is nearly full; the row is young while that lasts.

/** @param {import('knex').Knex} knex */
export async function up(knex) {
  await knex.raw(`
    create table low_disks (
      worker text primary key,
      free_bytes bigint not null,
      needed_bytes bigint not null,
      seen_at timestamptz not null default clock_timestamp()
    );
  `)
}

export async function down() {
  throw new Error('migrations are forward only: restore a backup to go back')
}
