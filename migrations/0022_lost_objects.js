// Git LFS objects that the storage has lost are asked for again, and the storage of objects knows whose it is.

/** @param {import('knex').Knex} knex */
export async function up(knex) {
  await knex.raw(`
    alter table lfs_objects add column lost_at timestamptz;

    create table installation (
      only_row boolean primary key default true check (only_row),
      id text not null
    );
  `)
}

export async function down() {
  throw new Error('migrations are forward only: restore a backup to go back')
}
