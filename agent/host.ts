// How the guest reaches a service of its host, as an address of socat (Node cannot open AF_VSOCK).
const HOST_CID = 2

export function hostAddress(port: number): string {
  return `VSOCK-CONNECT:${HOST_CID}:${port}`
}
