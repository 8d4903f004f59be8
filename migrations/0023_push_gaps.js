// A push that did not begin where the one before it had ended: one in between is not recorded yet, or never was.

/** @param {import('knex').Knex} knex */
export async function up(knex) {
  await knex.raw(`
    alter table pushes add column gap boolean not null default false;
    create index pushes_gaps on pushes (id) where gap;
  `)
}

export async function down() {
  throw new Error('migrations are forward only: restore a backup to go back')
}
