// A gated build runs before its branch moves, and is not ready before it has. Only open ones may be.

/** @param {import('knex').Knex} knex */
export async function up(knex) {
  await knex.raw(`
    alter table builds
      add column gate text check (gate in ('closed', 'open')),
      add check (gate is distinct from 'closed' or status <> 'ready');
    create index builds_behind_gate on builds (app_id)
      where gate = 'closed' and status in ('queued', 'building', 'pushing');
  `)
}

export async function down() {
  throw new Error('migrations are forward only: restore a backup to go back')
}
