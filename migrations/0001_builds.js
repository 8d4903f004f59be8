// Apps, pushes, builds, their numbered events, slots and revoked tokens. Forward only.
// Statuses and failure classes are checked here as well: the database is where transitions are decided.

/** @param {import('knex').Knex} knex */
export async function up(knex) {
  await knex.raw(`
    create table apps (
      id text primary key,
      tenant text not null,
      name text not null,
      settings jsonb not null default '{}',
      created_at timestamptz not null default now(),
      updated_at timestamptz not null default now(),
      unique (tenant, name)
    );

    create table pushes (
      id bigint generated always as identity primary key,
      app_id text not null references apps (id) on delete cascade,
      ref text not null,
      old_sha text not null,
      new_sha text not null,
      pusher text not null,
      source text not null check (source in ('push', 'reconcile')),
      created_at timestamptz not null default now()
    );
    create index pushes_by_ref on pushes (app_id, ref, id desc);

    create table builds (
      id text primary key,
      tenant text not null,
      app_id text references apps (id) on delete set null,
      app text,
      push_id bigint references pushes (id) on delete set null,
      ref text,
      commit text,
      pusher text not null,
      status text not null default 'queued'
        check (status in ('queued', 'building', 'pushing', 'ready', 'failed', 'cancelled')),
      failure_class text
        check (failure_class in ('build', 'source', 'timeout', 'oom', 'disk', 'registry', 'infra', 'lost')),
      error text,
      request jsonb not null,
      source_key text not null,
      source_hash text not null,
      source_bytes bigint not null,
      image_digest text,
      provenance jsonb,
      priority integer not null default 0,
      attempt integer not null default 0,
      lease_token uuid,
      lease_until timestamptz,
      worker text,
      cancel_requested_at timestamptz,
      created_at timestamptz not null default now(),
      started_at timestamptz,
      claimed_at timestamptz,
      hello_at timestamptz,
      pushing_at timestamptz,
      result_at timestamptz,
      completed_at timestamptz,
      last_seq bigint not null default 0,
      check ((status = 'failed') = (failure_class is not null)),
      check ((status in ('ready', 'failed', 'cancelled')) = (completed_at is not null))
    );
    create index builds_queue on builds (priority desc, created_at, id) where status = 'queued';
    create index builds_running on builds (lease_until) where status in ('building', 'pushing');
    create index builds_by_tenant on builds (tenant, created_at desc, id desc);
    create index builds_by_app on builds (app_id, created_at desc);

    create table build_events (
      build_id text not null references builds (id) on delete cascade,
      seq bigint not null,
      at timestamptz not null default clock_timestamp(),
      type text not null check (type in ('log', 'status', 'step', 'attempt')),
      content text,
      data jsonb,
      primary key (build_id, seq)
    );

    create table slots (
      n integer primary key,
      build_id text unique references builds (id) on delete set null
    );

    create table revoked_tokens (
      jti text primary key,
      expires_at timestamptz not null,
      revoked_at timestamptz not null default now()
    );
  `)
}

export async function down() {
  throw new Error('migrations are forward only: restore a backup to go back')
}
