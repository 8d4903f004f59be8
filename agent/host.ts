// How a service of the host is reached, as an address of socat (Node cannot open AF_VSOCK).
import { environment } from './environment.ts'

export function hostAddress(port: number): string {
  return environment.hostAddress(port)
}
