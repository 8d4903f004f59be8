// What a build has lost to retention, and when; which repositories of the registry are used; objects that
// no build knows. The indexes keep each look for what may go a short one, also over many builds.

/** @param {import('knex').Knex} knex */
export async function up(knex) {
  await knex.raw(`
    alter table builds
      add column image_expired_at timestamptz,
      add column image_deleted_at timestamptz,
      add column log_expired_at timestamptz,
      add column source_expired_at timestamptz;
    create index builds_images on builds (app_id, created_at desc, id desc)
      where status = 'ready' and image_expired_at is null;
    create index builds_images_unready on builds (completed_at)
      where status in ('failed', 'cancelled') and image_digest is not null and image_expired_at is null;
    create index builds_images_expired on builds (image_expired_at, id)
      where image_expired_at is not null and image_deleted_at is null;
    create index builds_by_image on builds (image_digest) where image_digest is not null;
    create index builds_by_source on builds (source_key);
    create index builds_sources on builds (completed_at, id)
      where completed_at is not null and source_expired_at is null;
    create index builds_logs on builds (completed_at, id)
      where completed_at is not null and log_expired_at is null;
    create index builds_ended on builds (completed_at, id) where completed_at is not null;
    create index builds_by_push on builds (push_id) where push_id is not null;

    create table repository_use (
      repo text primary key,
      seen_at timestamptz not null default clock_timestamp(),
      pulled_at timestamptz,
      pushed_at timestamptz,
      doomed_at timestamptz
    );

    create table orphan_objects (
      key text primary key,
      seen_at timestamptz not null default clock_timestamp()
    );
  `)
}

export async function down() {
  throw new Error('migrations are forward only: restore a backup to go back')
}
