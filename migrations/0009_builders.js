// Builders: persistent BuildKit state as a resource. The disk itself lies on its worker; here is which
// generation of it counts, and who holds it.

/** @param {import('knex').Knex} knex */
export async function up(knex) {
  await knex.raw(`
    create table builders (
      key text primary key,
      tenant text not null,
      id text not null,
      name text,
      app_id text unique references apps (id) on delete cascade,
      disk_size_gb integer not null,
      tags jsonb not null default '{}',
      status text not null default 'ready'
        check (status in ('ready', 'pruning', 'deleting', 'error')),
      generation text,
      generation_worker text,
      generation_stamp text,
      active_build_id text,
      lease_token uuid,
      lease_worker text,
      lease_until timestamptz,
      saving_until timestamptz,
      created_at timestamptz not null default now(),
      last_used_at timestamptz,
      unique (tenant, id)
    );
    alter table builds
      add column builder_key text references builders (key) on delete set null,
      add column builder_promotes boolean not null default false;
    create index builds_builder on builds (builder_key) where builder_key is not null;
  `)
}

export async function down() {
  throw new Error('migrations are forward only: restore a backup to go back')
}
