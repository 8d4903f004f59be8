// Which manifests refer to another one (signatures, SBOMs, attestations): the registry behind keeps no such index.
// `descriptor` is json, not jsonb: annotations come from clients and may hold what jsonb refuses.

/** @param {import('knex').Knex} knex */
export async function up(knex) {
  await knex.raw(`
    create table referrers (
      repo text not null,
      subject text not null,
      digest text not null,
      artifact_type text,
      descriptor json not null,
      created_at timestamptz not null default now(),
      primary key (repo, subject, digest)
    );
  `)
}

export async function down() {
  throw new Error('migrations are forward only: restore a backup to go back')
}
