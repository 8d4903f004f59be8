// What the disk of a builder really takes, as its worker saw it when it was saved.

/** @param {import('knex').Knex} knex */
export async function up(knex) {
  await knex.raw(`alter table builders add column generation_bytes bigint`)
}

export async function down() {
  throw new Error('migrations are forward only: restore a backup to go back')
}
