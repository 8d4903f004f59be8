// What a caller says about a build (tags), and which pod ran it.

/** @param {import('knex').Knex} knex */
export async function up(knex) {
  await knex.raw(`
    alter table builds
      add column tags jsonb not null default '{}',
      add column builder_instance text;
    create index builds_by_tags on builds using gin (tags jsonb_path_ops);
  `)
}

export async function down() {
  throw new Error('migrations are forward only: restore a backup to go back')
}
