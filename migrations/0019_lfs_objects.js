// Which Git LFS objects an app has: content is stored once, but only who has sent it may read it.

/** @param {import('knex').Knex} knex */
export async function up(knex) {
  await knex.raw(`
    create table lfs_objects (
      app_id text not null references apps (id) on delete cascade,
      oid text not null,
      bytes bigint not null,
      created_at timestamptz not null default now(),
      primary key (app_id, oid)
    );
    create index lfs_objects_oid on lfs_objects (oid);
  `)
}

export async function down() {
  throw new Error('migrations are forward only: restore a backup to go back')
}
