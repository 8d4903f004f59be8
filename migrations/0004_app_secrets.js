// Secrets of apps, sealed: no value is here in clear, and none without its app.

/** @param {import('knex').Knex} knex */
export async function up(knex) {
  await knex.raw(`
    create table app_secrets (
      app_id text not null references apps (id) on delete cascade,
      id text not null,
      key_id text not null,
      nonce bytea not null,
      sealed bytea not null,
      created_at timestamptz not null default now(),
      updated_at timestamptz not null default now(),
      primary key (app_id, id)
    );
  `)
}

export async function down() {
  throw new Error('migrations are forward only: restore a backup to go back')
}
