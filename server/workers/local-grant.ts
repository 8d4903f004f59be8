// The seam in one process: server role and worker role are both here.
import { hashLease } from '../builds/store.ts'
import { AppError } from '../errors.ts'
import type { Desk } from './desk.ts'
import { type GiveGrant, NotGranted } from './link.ts'

export function createLocalGrant(desk: Desk): GiveGrant {
  return async ({ id, leaseToken, worker = '' }) => {
    try {
      return await desk.grant({ buildId: id, worker, leaseHash: hashLease(leaseToken) })
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== 'conflict') throw error
      throw new NotGranted('lease_lost', error.message)
    }
  }
}
