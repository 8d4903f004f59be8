// Every connection a build made or was refused, and how many events of them there must be.

/** @param {import('knex').Knex} knex */
export async function up(knex) {
  await knex.raw(`
    create table build_connections (
      build_id text not null references builds (id) on delete cascade,
      n integer not null,
      attempt integer not null,
      event jsonb not null,
      primary key (build_id, n)
    );
    alter table builds add column connection_events integer;
  `)
}

export async function down() {
  throw new Error('migrations are forward only: restore a backup to go back')
}
