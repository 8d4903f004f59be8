// When a builder has a build, as one SQL expression over `builders`: the claim, the API and the house-keeping
// decide by it alike. The fresh lease is in the row itself, because a statement that waited for the row sees
// its new version, but not the newly claimed build.

export const BUSY = `(
  builders.lease_token is not null
  and case
    when builders.saving_until is not null then builders.saving_until > clock_timestamp()
    else builders.lease_until > clock_timestamp() or exists (
      select 1 from builds holder
      where holder.id = builders.active_build_id and holder.lease_token = builders.lease_token
    )
  end
)`

/** Columns of a builder without state. */
export const EMPTIED =
  'generation = null, generation_worker = null, generation_stamp = null, generation_bytes = null'

/** Columns of a builder that nobody holds. */
export const RELEASED =
  'active_build_id = null, lease_token = null, lease_worker = null, lease_until = null, saving_until = null, free_since = clock_timestamp()'
