// Git LFS objects that no ref names go after a while, and the images of branches whose tag has yet to move are found
// without a look at all of them.

/** @param {import('knex').Knex} knex */
export async function up(knex) {
  await knex.raw(`
    alter table lfs_objects add column unnamed_since timestamptz;

    create index branch_images_unpublished on branch_images (build_id) where published_at is null;
  `)
}

export async function down() {
  throw new Error('migrations are forward only: restore a backup to go back')
}
