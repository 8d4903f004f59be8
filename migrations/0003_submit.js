// Requests that may be repeated (Idempotency-Key), and how many builds of a tenant wait.

/** @param {import('knex').Knex} knex */
export async function up(knex) {
  await knex.raw(`
    create table idempotency_keys (
      tenant text not null,
      key text not null,
      fingerprint text not null,
      build_id text not null references builds (id) on delete cascade,
      created_at timestamptz not null default clock_timestamp(),
      primary key (tenant, key)
    );
    create index idempotency_keys_by_age on idempotency_keys (created_at);
    create index idempotency_keys_by_build on idempotency_keys (build_id);
    create index builds_queued_by_tenant on builds (tenant) where status = 'queued';
  `)
}

export async function down() {
  throw new Error('migrations are forward only: restore a backup to go back')
}
