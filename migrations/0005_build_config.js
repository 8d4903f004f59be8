// What the pod of a build's latest attempt was given, without its tokens and keys.

/** @param {import('knex').Knex} knex */
export async function up(knex) {
  await knex.raw(`alter table builds add column config jsonb`)
}

export async function down() {
  throw new Error('migrations are forward only: restore a backup to go back')
}
