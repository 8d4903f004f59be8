// Steps, statuses and attempts of a build are found without reading its log.

/** @param {import('knex').Knex} knex */
export async function up(knex) {
  await knex.raw(`
    create index build_events_facts on build_events (build_id, seq) where type <> 'log';
  `)
}

export async function down() {
  throw new Error('migrations are forward only: restore a backup to go back')
}
